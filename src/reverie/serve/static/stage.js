// The two pictures, and the border that says how far to trust the dream.
import { levelWord, setLevel } from "./readings.js";

export class Stage {
  constructor(root) {
    this.root = root;
    this.real = root.querySelector("#real");
    this.dream = root.querySelector("#dream");
    this.world = root.querySelector("#dream-world");
    this.badge = root.querySelector("#level-text");
    this.episode = root.querySelector("#episode-text");
    this.heat = root.querySelector("#heat");
    this.image = null;
  }

  show(frame, contextFrames) {
    this.paint(this.real, frame.real, frame);
    this.paint(this.dream, frame.dream, frame);
    this.paintHeat(frame.heat);
    this.world.dataset.level = frame.level;
    this.episode.textContent = `episode ${frame.episode}, step ${frame.episode_step}`;
    setLevel(this.badge, frame.level, this.words(frame, contextFrames));
  }

  toggleView() {
    const isAlone = this.root.dataset.view !== "dream";
    this.root.dataset.view = isAlone ? "dream" : "both";
    return isAlone;
  }

  /** Show or hide where the dream looks wrong; returns whether it is shown now. */
  toggleHeat() {
    this.heat.hidden = !this.heat.hidden;
    return !this.heat.hidden;
  }

  paintHeat(heat) {
    const pen = this.heat.getContext("2d");
    if (!heat) {
      pen.clearRect(0, 0, this.heat.width, this.heat.height);
      return;
    }
    this.heat.width = heat.columns;
    this.heat.height = heat.rows;
    const image = new ImageData(heat.columns, heat.rows);
    heat.values.forEach((value, index) => image.data.set([255, 60, 40, value], 4 * index));
    pen.putImageData(image, 0, 0);
  }

  words(frame, contextFrames) {
    if (frame.phase === "context") return `watching reality ${frame.context_seen}/${contextFrames}`;
    if (frame.horizon === 0) return "reseeded";
    return `${levelWord(frame.level)}, ${frame.horizon} frames dreamed`;
  }

  paint(canvas, rgb, frame) {
    const { width_px: width, height_px: height } = frame;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.image = new ImageData(width, height);
      this.image.data.fill(255);
    }
    const rgba = this.image.data;
    for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
      rgba[to] = rgb[from];
      rgba[to + 1] = rgb[from + 1];
      rgba[to + 2] = rgb[from + 2];
    }
    canvas.getContext("2d").putImageData(this.image, 0, 0);
  }
}
