// Glue: what the server says goes to the views, what the person does goes to the server.
import { Connection } from "./connection.js";
import { Input } from "./input.js";
import { Readings, short } from "./readings.js";
import { Stage } from "./stage.js";

const find = (id) => document.getElementById(id);
const DRIVERS = ["off", "random", "expert", "agent"];
const DRIVER_TEXT = { off: "", random: "(random autopilot)", expert: "(expert autopilot)",
  agent: "(the model's own controller)" };
const NOTICE_MS = 5000;

const stage = new Stage(find("stage"));
const readings = new Readings(find("cards"), find("facts"));
const input = new Input(find("lanes"), act);
const now = { welcome: null, model: null, task: null, started: null, frame: null, driver: "off",
  isPaused: false, noticeTimer: null };

const connection = new Connection({
  onMessage: receive,
  onFrame: show,
  onState: showConnection,
  onFault: (text) => say(text),
});

function receive(message) {
  switch (message.type) {
    case "welcome": welcome(message); break;
    case "started": started(message); break;
    case "notice": mention(message.text); break;
    case "problem": problem(message); break;
  }
}

function problem(message) {
  say(message.text, canReconnect(message.code));
  if (message.code === "unknown" && !now.started) start(find("task").value);
}

function welcome(message) {
  now.welcome = message;
  hideBanner();
  fill(find("model"), message.models.map((model) => model.name), now.model);
  find("model").parentElement.hidden = message.models.length < 2;
  const rate = find("rate");
  Object.assign(rate, { min: message.min_rate_hz, max: message.max_rate_hz });
  if (!now.started) rate.value = message.rate_hz;
  showRate();
  connection.send("set_rate", { rate_hz: Number(rate.value) });
  chooseModel(now.task ?? taskOfAddress() ?? message.first_task);
}

/** The part after # names a task, so that an address can be kept or shared. */
function taskOfAddress() {
  return decodeURIComponent(location.hash.slice(1)) || null;
}

function chooseModel(task) {
  const model = modelCard();
  now.model = model.name;
  const names = model.tasks.map((card) => card.name);
  fill(find("task"), names, names.includes(task) ? task : names[0]);
  // The server knows best what to say about a name that it does not know.
  start(task ?? names[0]);
}

function start(task) {
  connection.send("start", { model: find("model").value, task });
}

function started(message) {
  const isOther = now.started?.task !== message.task || now.started?.model !== message.model;
  now.started = message;
  now.task = message.task;
  history.replaceState(null, "", `#${encodeURIComponent(message.task)}`);
  const card = modelCard().tasks.find((task) => task.name === message.task);
  find("instruction").textContent = card.instruction;
  find("instruction").title = card.instruction;
  offerDriver("expert", card.has_expert, "This task has no scripted expert");
  offerDriver("agent", card.has_agent, "This model has no controller of its own");
  if (isOther || !input.task) input.setTask(card);
  if (isOther || !now.frame) readings.begin(message.thresholds);
}

function driverInput(name) {
  return document.querySelector(`input[name="driver"][value="${name}"]`);
}

function offerDriver(name, isThere, reason) {
  driverInput(name).disabled = !isThere;
  driverInput(name).parentElement.title = isThere ? "" : reason;
}

function show(frame) {
  now.frame = frame;
  now.isPaused = frame.is_paused;
  now.driver = frame.driver;
  stage.show(frame, now.started.context_frames);
  readings.show(frame);
  input.show(frame.action);
  readings.setFacts({
    "horizon": frame.horizon,
    "shown": rateText(frame.shown_fps),
    "reward": short(frame.reward),
    "dream": rateText(frame.dream_fps),
    "dream reward": short(frame.dreamed_reward),
    "simulator": rateText(frame.simulator_fps),
    ...outlookFacts(frame.outlook),
    "score": short(frame.score),
    "seed": now.started.seed,
  });
  find("pause").textContent = frame.is_paused ? "Play" : "Pause";
  find("pause").setAttribute("aria-pressed", String(frame.is_paused));
  find("driver-text").textContent = DRIVER_TEXT[frame.driver];
  driverInput(frame.driver).checked = true;
}

/** When the flag came, when the dream really went wrong, and how far apart. */
function outlookFacts(outlook) {
  if (!outlook) return {};
  const at = (value) => (value === null ? "–" : `frame ${value}`);
  const lead = outlook.lead === null ? "–"
    : `${outlook.lead > 0 ? "+" : ""}${outlook.lead} frames`;
  return { flag: at(outlook.flagged_at), diverged: at(outlook.diverged_at), lead };
}

function act(values) {
  if (!now.started) return false;
  const isResting = values.every((value) => value === 0);
  if (now.driver !== "off" && !isResting) setDriver("off");
  return connection.send("act", { values });
}

function setDriver(driver) {
  now.driver = driver;
  connection.send("set_autopilot", { driver });
}

function nextDriver() {
  const offered = DRIVERS.filter((name) => !driverInput(name).disabled);
  setDriver(offered[(offered.indexOf(now.driver) + 1) % offered.length]);
}

function stepOnce() {
  input.flush();
  connection.send("step_once");
}

function togglePause() {
  connection.send("pause", { is_paused: !now.isPaused });
}

function toggleView() {
  const isAlone = stage.toggleView();
  find("view").setAttribute("aria-pressed", String(isAlone));
  find("view").textContent = isAlone ? "Side by side" : "Dream alone";
}

function toggleHeat() {
  const isHot = stage.toggleHeat();
  find("heat-toggle").setAttribute("aria-pressed", String(isHot));
}

function replay() {
  if (now.started) connection.send("reset", { seed: now.started.seed });
}

function changeRate(by) {
  find("rate").value = Number(find("rate").value) + by;
  sendRate();
}

function sendRate() {
  showRate();
  connection.send("set_rate", { rate_hz: Number(find("rate").value) });
}

function showRate() {
  find("rate-text").textContent = `${find("rate").value} fps`;
}

function showConnection(state, waitMs) {
  const view = find("connection");
  view.dataset.state = state === "ended" || state === "busy" ? "lost" : state;
  view.textContent = { live: "connected", connecting: "connecting", lost: "connection lost",
    busy: "server busy", ended: "session ended" }[state];
  if (state === "lost") {
    const seconds = Math.max(1, Math.round(waitMs / 1000));
    say(`The connection to the server was lost. Trying again in ${seconds} s.`, true);
  }
  for (const id of ["model", "task", "pause", "step", "reset", "reseed"]) {
    find(id).disabled = state !== "live";
  }
}

function canReconnect(code) {
  return ["busy", "idle", "refused", "internal", "size", "rate"].includes(code);
}

/** Say what went wrong; it stays until it is dismissed or mended. */
function say(text, withReconnect = false) {
  find("banner-text").textContent = text;
  find("banner-action").hidden = !withReconnect;
  find("banner").hidden = false;
}

/** Say something in passing. */
function mention(text) {
  clearTimeout(now.noticeTimer);
  find("toast").textContent = text;
  find("toast").dataset.shown = "true";
  now.noticeTimer = setTimeout(() => { find("toast").dataset.shown = "false"; }, NOTICE_MS);
}

function hideBanner() {
  find("banner").hidden = true;
}

function rateText(value) {
  return value === null ? "–" : `${value.toFixed(value < 100 ? 1 : 0)} fps`;
}

function modelCard() {
  const name = find("model").value;
  return now.welcome.models.find((model) => model.name === name);
}

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(chosen)) select.value = chosen;
}

const SHORTCUTS = {
  Space: togglePause,
  KeyN: stepOnce,
  KeyR: () => connection.send("reset"),
  KeyT: replay,
  KeyC: () => connection.send("reseed"),
  KeyV: toggleView,
  KeyO: nextDriver,
  KeyH: toggleHeat,
  Minus: () => changeRate(-1),
  Equal: () => changeRate(1),
};

function isTyping(event) {
  const tag = event.target.tagName;
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  if (tag === "SELECT") return true;
  return tag === "BUTTON" && (event.code === "Space" || event.code === "Enter");
}

document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  if (input.press(event.code)) {
    event.preventDefault();
    return;
  }
  const shortcut = SHORTCUTS[event.code];
  if (shortcut && !event.repeat) {
    event.preventDefault();
    shortcut();
  }
});
document.addEventListener("keyup", (event) => input.lift(event.code));
// A button that was clicked must not swallow the next press of the space bar.
document.addEventListener("click", (event) => {
  if (event.detail > 0) event.target.closest("button, input")?.blur();
});

find("pause").addEventListener("click", togglePause);
find("step").addEventListener("click", stepOnce);
find("reset").addEventListener("click", () => connection.send("reset"));
find("reseed").addEventListener("click", () => connection.send("reseed"));
find("view").addEventListener("click", toggleView);
find("heat-toggle").addEventListener("click", toggleHeat);
find("rate").addEventListener("input", sendRate);
find("driver").addEventListener("change", (event) => setDriver(event.target.value));
find("model").addEventListener("change", () => chooseModel(now.task));
find("task").addEventListener("change", (event) => {
  start(event.target.value);
  event.target.blur();
});
find("banner-close").addEventListener("click", hideBanner);
find("banner-action").addEventListener("click", () => connection.open());
window.addEventListener("hashchange", () => {
  const task = taskOfAddress();
  if (now.welcome && task !== now.task) chooseModel(task);
});

function refresh() {
  readings.draw();
  input.pollGamepad();
  requestAnimationFrame(refresh);
}
requestAnimationFrame(refresh);
