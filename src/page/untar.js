// Lists what is in a tar, as it comes: names and sizes, and nothing else.

const BLOCK = 512;
/** What is said about an entry is never longer in good faith. */
const MAX_NOTE_BYTES = 64 * 1024;
const decoder = new TextDecoder();

/** The entries of a tar, as { path, size, isFolder }. */
export async function* entriesOf(stream) {
  const bytes = new Bytes(stream);
  let note = {};
  try {
    for (;;) {
      const block = await bytes.take(BLOCK);
      if (!block || block.every((byte) => byte === 0)) return;
      const entry = readHeader(block);
      const size = note.size ?? entry.size;
      const padded = Math.ceil(size / BLOCK) * BLOCK;
      if ("xgLK".includes(entry.type)) {
        if (size > MAX_NOTE_BYTES) throw new Error("This tar has a header that is too long.");
        const body = (await bytes.take(padded)).subarray(0, size);
        note = { ...note, ...readNote(entry.type, body) };
        continue;
      }
      yield { path: note.path ?? entry.path, size, isFolder: entry.type === "5" };
      note = {};
      await bytes.skip(padded);
    }
  } finally {
    bytes.cancel();
  }
}

function readHeader(block) {
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (sum !== octalIn(block.subarray(148, 156))) throw new Error("This is no tar, or it is damaged.");
  const type = String.fromCharCode(block[156] || 0x30);
  const isUstar = textIn(block.subarray(257, 262)) === "ustar" && block[262] === 0;
  const prefix = isUstar ? textIn(block.subarray(345, 500)) : "";
  const name = textIn(block.subarray(0, 100));
  return { path: prefix ? `${prefix}/${name}` : name, size: octalIn(block.subarray(124, 136)), type };
}

/** What stands before an entry about it: pax (`x`), or the long name of GNU tar (`L`). */
function readNote(type, body) {
  if (type === "L") return { path: textIn(body) };
  if (type !== "x") return {};
  const note = {};
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at);
    const length = parseInt(decoder.decode(body.subarray(at, space)), 10);
    if (space < 0 || !(length > 0)) break;
    const [name, ...value] = decoder.decode(body.subarray(space + 1, at + length - 1)).split("=");
    if (name === "path") note.path = value.join("=");
    if (name === "size") note.size = parseInt(value.join("="), 10);
    at += length;
  }
  return note;
}

function octalIn(field) {
  return parseInt(textIn(field).trim() || "0", 8);
}

function textIn(field) {
  const end = field.indexOf(0);
  return decoder.decode(end < 0 ? field : field.subarray(0, end));
}

/** A stream from which so many bytes are taken as are wanted. */
class Bytes {
  constructor(stream) {
    this.reader = stream.getReader();
    this.held = new Uint8Array();
  }

  /** So many bytes; nothing at the end of the stream. */
  async take(length) {
    const taken = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      if (this.held.length === 0 && !(await this.more())) {
        if (filled === 0) return undefined;
        throw new Error("This tar ends before it is whole.");
      }
      const part = this.held.subarray(0, length - filled);
      taken.set(part, filled);
      filled += part.length;
      this.held = this.held.subarray(part.length);
    }
    return taken;
  }

  async skip(length) {
    for (let left = length; left > 0; ) {
      if (this.held.length === 0 && !(await this.more())) throw new Error("This tar ends before it is whole.");
      const part = Math.min(left, this.held.length);
      left -= part;
      this.held = this.held.subarray(part);
    }
  }

  async more() {
    const { value, done } = await this.reader.read();
    if (!done) this.held = value;
    return !done;
  }

  cancel() {
    this.reader.cancel().catch(() => {});
  }
}
