// What a person does with keys, buttons, sliders and gamepad, as one action.
import { element, textElement } from "./readings.js";

const DEAD_ZONE = 0.15;
const SEND_EVERY_MS = 16;
const KEY_SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

export class Input {
  /** onAction(values) is called when the wanted action changed. */
  constructor(root, onAction) {
    this.root = root;
    this.onAction = onAction;
    this.task = null;
    this.held = new Set();
    this.touched = new Map();
    this.slid = new Map();
    this.pad = [];
    this.sent = "";
    this.timer = null;
    this.views = [];
    window.addEventListener("blur", () => this.release());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.release(); });
  }

  /** Build the lanes of another task. */
  setTask(task) {
    this.task = task;
    this.keyMap = new Map();
    for (const binding of task.keys) {
      for (const code of binding.keys) this.keyMap.set(code, binding);
    }
    this.release();
    this.sent = JSON.stringify(this.values());
    this.views = task.is_discrete ? this.buildChoices() : this.buildLanes();
  }

  /** Take a key; true if it drives. */
  press(code) {
    if (!this.keyMap?.has(code)) return false;
    this.held.add(code);
    this.changed();
    return true;
  }

  lift(code) {
    if (this.held.delete(code)) this.changed();
  }

  release() {
    this.held.clear();
    this.touched.clear();
    this.slid.clear();
    this.pad = [];
    this.changed();
  }

  /** The action that all sources together ask for; the strongest source of a lane counts. */
  values() {
    const width = this.task.action_names.length;
    const values = new Array(width).fill(0);
    const held = new Set([...this.held].map((code) => this.keyMap.get(code)));
    for (const binding of held) values[binding.lane] += binding.value;
    for (const [lane, value] of [...this.touched, ...this.slid, ...this.pad.entries()]) {
      if (lane < width && Math.abs(value) > Math.abs(values[lane])) values[lane] = value;
    }
    return values.map((value) => Math.max(-1, Math.min(1, value)));
  }

  /** Read the first gamepad: sticks drive the lanes in order. */
  pollGamepad() {
    const pads = navigator.getGamepads ? [...navigator.getGamepads()] : [];
    const pad = pads.find((found) => found && found.connected);
    const axes = pad ? pad.axes.map((value) => (Math.abs(value) < DEAD_ZONE ? 0 : value)) : [];
    if (axes.length === this.pad.length && axes.every((value, at) => value === this.pad[at])) return;
    this.pad = this.task && !this.task.is_discrete ? axes : [];
    this.changed();
  }

  /** Show the action that was really sent to both worlds. */
  show(action) {
    action.forEach((value, lane) => this.views[lane]?.show(value));
  }

  changed() {
    if (this.task && this.timer === null) {
      this.timer = setTimeout(() => this.flush(), SEND_EVERY_MS);
    }
  }

  /** Send the wanted action now if it is not known to the server yet. */
  flush() {
    clearTimeout(this.timer);
    this.timer = null;
    if (!this.task) return;
    const values = this.values();
    const text = JSON.stringify(values);
    if (text !== this.sent && this.onAction(values)) this.sent = text;
  }

  buildLanes() {
    this.root.replaceChildren();
    return this.task.action_names.map((name, lane) => {
      const row = element("div", "lane");
      const slider = element("input");
      Object.assign(slider, { type: "range", min: -1, max: 1, step: 0.05, value: 0 });
      slider.setAttribute("aria-label", name);
      const low = this.holdButton(lane, -1, name);
      const high = this.holdButton(lane, 1, name);
      const value = textElement("output", "0.00");
      row.append(textElement("span", name), low, slider, high, value);
      this.root.append(row);
      this.wireSlider(slider, lane);
      return { show: (now) => this.showLane(slider, value, [low, high], now) };
    });
  }

  buildChoices() {
    this.root.replaceChildren();
    const box = element("div", "choices");
    this.root.append(box);
    return this.task.action_names.map((name, lane) => {
      const button = this.holdButton(lane, 1, name);
      button.textContent = [name, this.signs(lane, 1)].join(" ").trim();
      box.append(button);
      return { show: (now) => { button.dataset.active = String(now > 0.5); } };
    });
  }

  wireSlider(slider, lane) {
    slider.addEventListener("input", () => {
      this.slid.set(lane, Number(slider.value));
      this.changed();
    });
    const spring = () => {
      this.slid.delete(lane);
      slider.value = 0;
      slider.blur();
      this.changed();
    };
    slider.addEventListener("change", spring);
    slider.addEventListener("pointercancel", spring);
  }

  showLane(slider, output, [low, high], now) {
    if (document.activeElement !== slider) slider.value = now;
    output.textContent = now.toFixed(2);
    low.dataset.active = String(now < -0.05);
    high.dataset.active = String(now > 0.05);
  }

  holdButton(lane, value, name) {
    const sign = value < 0 ? "−" : "+";
    const button = textElement("button", this.signs(lane, value) || sign, value < 0 ? "low" : "high");
    button.type = "button";
    button.setAttribute("aria-label", `${name} ${sign}1`);
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      this.touched.set(lane, value);
      this.changed();
    });
    for (const name_ of ["pointerup", "pointercancel", "lostpointercapture"]) {
      button.addEventListener(name_, () => {
        this.touched.delete(lane);
        this.changed();
      });
    }
    return button;
  }

  signs(lane, value) {
    const binding = this.task.keys.find((item) => item.lane === lane && item.value === value);
    const code = binding?.keys[0] ?? "";
    return KEY_SIGNS[code] ?? code.replace(/^(Key|Digit)/, "");
  }
}
