// Packs entries as a tar in gzip, holding only a few pieces at a time. An entry is { path, file }; a folder has no file.

const BLOCK = 512;
const PIECE_BYTES = 512 * 1024;
const encoder = new TextEncoder();

/** The archive as a stream. `onRead` is told how many bytes were read so far. */
export function pack(entries, onRead) {
  const pieces = tar(entries, onRead);
  const stream = new ReadableStream(
    {
      async pull(controller) {
        const { value, done } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: () => pieces.return(),
    },
    { highWaterMark: 1 },
  );
  return stream.pipeThrough(new CompressionStream("gzip"));
}

export async function* tar(entries, onRead = () => {}) {
  let read = 0;
  for (const { path, file } of entries) {
    if (!file) {
      yield* head({ path: `${path}/`, size: 0, type: "5", mode: 0o755, modified: Date.now() });
      continue;
    }
    const pieces = piecesOf(file);
    const first = await pieces.next();
    const mode = isProgram(first.value) ? 0o755 : 0o644;
    yield* head({ path, size: file.size, type: "0", mode, modified: file.lastModified });
    let length = 0;
    for (let piece = first; !piece.done; piece = await pieces.next()) {
      length += piece.value.length;
      if (length > file.size) break;
      yield piece.value;
      read += piece.value.length;
      onRead(read);
    }
    if (length !== file.size) throw new Error(`${path} changed while it was packed. Try again.`);
    yield padding(length);
  }
  yield new Uint8Array(2 * BLOCK);
}

/** What fills the last block. */
function padding(length) {
  return new Uint8Array((BLOCK - (length % BLOCK)) % BLOCK);
}

/** Smaller than a stream would give: used pieces stay in memory for a while. */
async function* piecesOf(file) {
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    const piece = file.slice(at, at + PIECE_BYTES).arrayBuffer();
    yield new Uint8Array(await piece.catch(() => Promise.reject(new Error(`${file.name} cannot be read any more.`))));
  }
}

/** Browsers do not say which files may be run: those that begin like a script or a program. */
function isProgram(bytes = []) {
  const isScript = bytes[0] === 0x23 && bytes[1] === 0x21;
  const isElf = bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
  return isScript || isElf;
}

/** The blocks before the bytes of an entry. What does not fit stands in one before, as POSIX says (pax). */
function* head(entry) {
  const path = encoder.encode(entry.path);
  const records = [];
  if (path.length > 100 || path.some((byte) => byte > 126)) records.push(record("path", entry.path));
  if (entry.size >= 8 ** 11) records.push(record("size", String(entry.size)));
  if (records.length > 0) {
    const bytes = encoder.encode(records.join(""));
    yield header({ ...entry, path: encoder.encode("pax"), size: bytes.length, type: "x" });
    yield bytes;
    yield padding(bytes.length);
  }
  yield header({ ...entry, path });
}

/** `LENGTH NAME=VALUE`: the length counts itself. */
function record(name, value) {
  const rest = ` ${name}=${value}\n`;
  const length = encoder.encode(rest).length;
  let digits = String(length).length;
  if (String(length + digits).length > digits) digits += 1;
  return `${length + digits}${rest}`;
}

function header({ path, size, type, mode, modified }) {
  const block = new Uint8Array(BLOCK);
  const put = (at, text) => block.set(encoder.encode(text), at);
  const octal = (at, width, value) => put(at, `${value.toString(8).padStart(width - 1, "0")}\0`);
  block.set(path.subarray(0, 100));
  octal(100, 8, mode);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, size < 8 ** 11 ? size : 0);
  octal(136, 12, Math.max(1, Math.floor(modified / 1000)));
  put(148, "        ");
  put(156, type);
  put(257, "ustar\x0000");
  put(148, `${block.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0")}\0 `);
  return block;
}
