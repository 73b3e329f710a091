// The column of numbers: one card per predictor, one for the true error, and plain facts.
import { Sparkline } from "./sparkline.js";

const MEANING = {
  u_r: ["round trip", "Distance of the dreamed latent from what the tokenizer makes of its picture"],
  u_f: ["flow", "How much the last flow steps still change the dreamed frame"],
  u_s: ["seeds", "How far the same step goes apart under other noises"],
};
const FACTS = {
  horizon: "Frames dreamed since the last real one",
  shown: "Frames per second that this page gets",
  dream: "Frames per second that the dream with its readings could do alone",
  simulator: "Frames per second that the simulator could do alone",
  reward: "What the simulator paid for the last step",
  "dream reward": "What the dream expects to be paid for the last step",
  flag: "Dreamed frames until the calibrated probability crossed its threshold",
  diverged: "Dreamed frames until the dream was no better than a still picture (the simulator knows)",
  lead: "Frames by which the flag came before that; negative is too late",
  score: "Normalised outcome of the episode so far, 0 to 1",
  seed: "Seed of this episode; T plays it again",
};
const OUTLOOK = "outlook";
/** From this share of the threshold on, the probability is shown in yellow. */
const NEAR = 0.75;
const LEVEL_WORDS = { green: "steady", yellow: "unusual", red: "flagged", unknown: "no limit" };
const PSNR_CEILING_DB = 45;

/** The word for a level, so that colour is never the only sign. */
export function levelWord(level) {
  return LEVEL_WORDS[level];
}

export class Readings {
  constructor(cards, facts) {
    this.cards = cards;
    this.facts = facts;
    this.byName = new Map();
    this.factByName = new Map();
    this.error = this.addCard("psnr", "PSNR", "dream against reality",
      "Peak signal-to-noise ratio of the dream against the real frame, now", PSNR_CEILING_DB);
    for (const name of Object.keys(MEANING)) this.card(name);
  }

  /** The calibrated probability, where the model has one. */
  showOutlook(outlook, isMark) {
    if (!outlook) {
      if (this.byName.has(OUTLOOK)) this.byName.get(OUTLOOK).spark.push(null, "unknown", isMark);
      return;
    }
    if (!this.byName.has(OUTLOOK)) {
      this.addCard(OUTLOOK, "P(wrong)", `within ${outlook.ahead} frames`,
        "Calibrated probability that the dream becomes no better than a still picture", null);
      const card = this.byName.get(OUTLOOK);
      card.spark.ceiling = 1;
      this.cards.prepend(card.root);
    }
    const card = this.byName.get(OUTLOOK);
    const limit = outlook.threshold;
    const isNear = limit !== null && outlook.held > NEAR * limit;
    const level = outlook.flagged_at !== null ? "red" : (isNear ? "yellow" : "green");
    card.spark.limits = limit === null ? null : { yellow: NEAR * limit, red: limit };
    card.limit.textContent = limit === null ? "too few good dreams to flag"
      : `flag above ${percent(limit)}`;
    card.big.textContent = percent(outlook.probability);
    card.raw.textContent = `held ${percent(outlook.held)}`;
    setLevel(card.level, level, outlook.flagged_at !== null
      ? `flagged at ${outlook.flagged_at}` : levelWord(level));
    card.spark.push(outlook.probability, level, isMark);
  }

  /** Begin anew for another task. */
  begin(thresholds) {
    const limits = new Map(thresholds.map((limit) => [limit.name, limit]));
    for (const [name, card] of this.byName) {
      card.spark.clear();
      card.spark.limits = limits.get(name) ?? null;
      card.limit.textContent = card.spark.limits
        ? `limits ${short(card.spark.limits.yellow)} and ${short(card.spark.limits.red)}` : "";
    }
  }

  show(frame) {
    const isMark = frame.phase === "dream" && frame.horizon === 0;
    this.showOutlook(frame.outlook, isMark);
    for (const reading of frame.readings) {
      const card = this.card(reading.name);
      card.big.textContent = short(reading.normalised);
      card.raw.textContent = `raw ${short(reading.raw)}`;
      setLevel(card.level, reading.level);
      card.spark.push(reading.normalised, reading.level, isMark);
    }
    if (!frame.readings.length) {
      for (const name of Object.keys(MEANING)) this.card(name).spark.push(null, "unknown", isMark);
    }
    this.error.big.textContent = frame.psnr_db === null ? "–" : `${frame.psnr_db.toFixed(1)} dB`;
    this.error.spark.push(frame.psnr_db, "unknown", isMark);
  }

  setFacts(values) {
    for (const [name, value] of Object.entries(values)) {
      if (!this.factByName.has(name)) this.addFact(name);
      this.factByName.get(name).textContent = value;
    }
  }

  draw() {
    for (const card of this.byName.values()) card.spark.draw();
  }

  card(name) {
    if (!this.byName.has(name)) {
      const [title, meaning] = MEANING[name] ?? ["", ""];
      this.addCard(name, name, title, meaning, null);
      const card = this.byName.get(name);
      this.cards.insertBefore(card.root, this.error.root);
    }
    return this.byName.get(name);
  }

  addCard(name, label, title, meaning, ceiling) {
    const root = element("article", "card");
    root.dataset.reading = name;
    root.title = meaning;
    const head = element("header");
    const heading = element("h2");
    heading.append(mathName(label), textElement("small", title));
    const raw = element("span", "raw");
    const big = textElement("span", "–", "big");
    head.append(heading, raw, big);
    const canvas = element("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${label}, ${meaning}: the last frames`);
    const foot = element("footer");
    const level = textElement("span", "", "badge");
    const limit = element("span");
    foot.append(level, limit);
    root.append(head, canvas);
    if (ceiling === null) root.append(foot);
    this.cards.append(root);
    const card = { root, raw, big, level, limit, spark: new Sparkline(canvas, { ceiling }) };
    setLevel(level, "unknown", "waiting");
    this.byName.set(name, card);
    return card;
  }

  addFact(name) {
    const pair = element("div");
    pair.title = FACTS[name] ?? "";
    const value = element("dd");
    value.dataset.fact = name;
    pair.append(textElement("dt", name), value);
    this.facts.append(pair);
    this.factByName.set(name, value);
  }
}

/** Write a share as a percentage. */
export function percent(value) {
  return value === null ? "–" : `${Math.round(value * 100)} %`;
}

/** Write a number with three significant digits; a dash where there is none. */
export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(0);
  return value.toFixed(size < 10 ? (size < 1 ? 3 : 2) : (size < 100 ? 1 : 0));
}

/** Show a level as colour, shape and word. */
export function setLevel(badge, level, word = levelWord(level)) {
  badge.dataset.level = level;
  badge.textContent = word;
}

function mathName(label) {
  const [letter, index] = label.split("_");
  if (!index) return document.createTextNode(label);
  const name = element("span");
  const italic = textElement("i", letter);
  name.append(italic, textElement("sub", index));
  return name;
}

export function element(tag, className = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  return node;
}

export function textElement(tag, text, className = "") {
  const node = element(tag, className);
  node.textContent = text;
  return node;
}
