// Messages as the server defines them. Whatever is sent or received is checked by the schema.
import { SCHEMA } from "./schema.js";

const decoder = new TextDecoder();

/** Build a message for the server; a misspelt type or field is an error here, not there. */
export function make(type, fields = {}) {
  const schema = SCHEMA.client[type];
  if (!schema) throw new Error(`There is no message '${type}' to the server.`);
  check(fields, schema, type);
  return JSON.stringify({ type, ...fields });
}

/** Read a text message of the server. */
export function readText(text) {
  return checked(JSON.parse(text));
}

/** Read a binary message: a frame and, as views into it, its two pictures. */
export function readFrame(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const frame = checked(JSON.parse(decoder.decode(new Uint8Array(buffer, 4, length))));
  const size = frame.height_px * frame.width_px * 3;
  return {
    ...frame,
    real: new Uint8Array(buffer, 4 + length, size),
    dream: new Uint8Array(buffer, 4 + length + size, size),
  };
}

function checked(message) {
  const { type, ...fields } = message;
  const schema = SCHEMA.server[type];
  if (!schema) throw new Error(`The server sent a message '${type}' that this page does not know.`);
  check(fields, schema, type);
  return message;
}

function check(value, schema, path) {
  if (!matches(value, schema)) {
    throw new Error(`The value of ${path} does not follow the schema: ${JSON.stringify(value)}`);
  }
  if (schema.type === "object") {
    for (const [name, part] of Object.entries(value)) {
      check(part, schema.properties[name], `${path}.${name}`);
    }
  }
}

function matches(value, schema) {
  if (schema.enum) return schema.enum.includes(value);
  if (schema.anyOf) return schema.anyOf.some((part) => matches(value, part));
  switch (schema.type) {
    case "null": return value === null;
    case "boolean": return typeof value === "boolean";
    case "string": return typeof value === "string";
    case "number": return Number.isFinite(value);
    case "integer": return Number.isInteger(value);
    case "array": return Array.isArray(value) && value.every((item) => matches(item, schema.items));
    default: return isObject(value, schema);
  }
}

function isObject(value, schema) {
  if (value === null || typeof value !== "object") return false;
  const names = Object.keys(value);
  return names.every((name) => name in schema.properties)
    && schema.required.every((name) => name in value);
}
