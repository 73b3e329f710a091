// A bounded history of one number, drawn as a line with its limits.

const CAPACITY = 240;

export class Sparkline {
  constructor(canvas, { ceiling = null } = {}) {
    this.canvas = canvas;
    this.ceiling = ceiling;
    this.limits = null;
    this.points = [];
    this.isDirty = true;
    new ResizeObserver(() => { this.isDirty = true; }).observe(canvas);
  }

  /** Add a value (null leaves a gap); isMark draws where the dream began anew. */
  push(value, level, isMark = false) {
    this.points.push({ value, level, isMark });
    if (this.points.length > CAPACITY) this.points.shift();
    this.isDirty = true;
  }

  clear() {
    this.points = [];
    this.isDirty = true;
  }

  draw() {
    if (!this.isDirty) return;
    this.isDirty = false;
    const ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    const height = this.canvas.clientHeight;
    if (!width || !height) return;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const top = this.top();
    const y = (value) => height - 2 - Math.min(value / top, 1) * (height - 5);
    const x = (index) => width - 2 - (this.points.length - 1 - index) * ((width - 4) / CAPACITY);
    this.drawLimits(pen, width, y);
    this.drawMarks(pen, height, x);
    this.drawLine(pen, x, y);
  }

  top() {
    const highest = Math.max(...this.points.map((point) => point.value ?? 0), 0);
    if (this.ceiling !== null) return Math.max(this.ceiling, highest);
    const limit = this.limits ? this.limits.red * 1.6 : 0;
    // A single spike must not flatten the rest: beyond three times the limit it is cut.
    const cap = this.limits ? this.limits.red * 3 : highest;
    return Math.max(limit, Math.min(highest, cap), 1e-9);
  }

  drawLimits(pen, width, y) {
    if (!this.limits) return;
    pen.setLineDash([4, 4]);
    pen.lineWidth = 1;
    for (const [name, value] of [["yellow", this.limits.yellow], ["red", this.limits.red]]) {
      pen.strokeStyle = colour(name);
      pen.globalAlpha = 0.55;
      pen.beginPath();
      pen.moveTo(0, y(value));
      pen.lineTo(width, y(value));
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  drawMarks(pen, height, x) {
    pen.strokeStyle = colour("line");
    pen.lineWidth = 1;
    this.points.forEach((point, index) => {
      if (!point.isMark) return;
      pen.beginPath();
      pen.moveTo(x(index), 0);
      pen.lineTo(x(index), height);
      pen.stroke();
    });
  }

  drawLine(pen, x, y) {
    pen.lineWidth = 1.6;
    pen.lineJoin = "round";
    let before = null;
    this.points.forEach((point, index) => {
      if (point.value !== null && before !== null) {
        pen.strokeStyle = colour(point.level);
        pen.beginPath();
        pen.moveTo(x(index - 1), y(before));
        pen.lineTo(x(index), y(point.value));
        pen.stroke();
      }
      before = point.value;
    });
  }
}

const names = new Map();

function colour(name) {
  if (!names.has(name)) {
    const key = name === "unknown" ? "accent" : name;
    names.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${key}`).trim());
  }
  return names.get(name);
}
