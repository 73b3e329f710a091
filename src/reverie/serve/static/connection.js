// The socket to the server. Comes back by itself when it was lost, except where that is no use.
import { make, readFrame, readText } from "./protocol.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const BUSY_WAIT_MS = 10000;
/** After these a person decides: the server ended the session for a reason. */
const FINAL_CODES = new Set(["idle", "refused", "internal", "size", "rate"]);

export class Connection {
  /** handlers: onMessage(message), onFrame(frame), onState(state, waitMs), onFault(text). */
  constructor(handlers) {
    this.handlers = handlers;
    this.waitMs = FIRST_WAIT_MS;
    this.lastProblem = null;
    this.timer = null;
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.lastProblem = null;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => { if (socket === this.socket) this.receive(event.data); };
    socket.onclose = () => { if (socket === this.socket) this.closed(); };
    this.handlers.onState("connecting", 0);
  }

  /** Send a message; while the connection is down it is dropped, and the answer is false. */
  send(type, fields = {}) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(make(type, fields));
    return true;
  }

  receive(data) {
    try {
      if (typeof data !== "string") {
        this.handlers.onFrame(readFrame(data));
        return;
      }
      const message = readText(data);
      if (message.type === "welcome") {
        this.waitMs = FIRST_WAIT_MS;
        this.handlers.onState("live", 0);
      }
      if (message.type === "problem") this.lastProblem = message.code;
      this.handlers.onMessage(message);
    } catch (error) {
      this.handlers.onFault(`${error.message} Reload the page; it may be of another version.`);
      console.error(error);
    }
  }

  closed() {
    if (FINAL_CODES.has(this.lastProblem)) {
      this.handlers.onState("ended", 0);
      return;
    }
    const waitMs = this.lastProblem === "busy" ? BUSY_WAIT_MS : this.waitMs;
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
    this.handlers.onState(this.lastProblem === "busy" ? "busy" : "lost", waitMs);
    this.timer = setTimeout(() => this.open(), waitMs);
  }
}
