// A QR code of a text (ISO/IEC 18004): bytes, error correction level L, versions 1 to 20 (858 bytes).

/** For each version: how many codewords correct a block, and how many blocks there are. */
const CORRECTION = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28];
const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8];
/** Level L and mask 0, as the format bits spell them. Any mask may be used, and links have no long runs. */
const FORMAT = 0b01000;

/** The code as an SVG element, with the quiet zone that readers need. */
export function qrImage(text, label) {
  const grid = qrCode(text);
  const size = grid.length + 8;
  const dark = grid.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x + 4} ${y + 4}h1v1h-1z` : "")));
  const make = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const image = make("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label, "shape-rendering": "crispEdges" });
  image.append(make("rect", { width: size, height: size, fill: "#fff" }), make("path", { d: dark.join("") }));
  return image;
}

/** Rows of modules, `true` where one is dark. */
export function qrCode(text) {
  const bytes = new TextEncoder().encode(text);
  for (let version = 1; version <= CORRECTION.length; version += 1) {
    const blank = blankGrid(version);
    const room = (blank.flat().filter((module) => module === undefined).length >> 3) - CORRECTION[version - 1] * BLOCKS[version - 1];
    // Mode and count take 12 bits, or 20.
    if (bytes.length > room - (version < 10 ? 2 : 3)) continue;
    fill(blank, interleaved(dataCodewords(bytes, version, room), version));
    return blank;
  }
  throw new RangeError(`${bytes.length} bytes are too many for a QR code`);
}

/** Mode, count, the bytes, an end, and padding. */
function dataCodewords(bytes, version, room) {
  const bits = [];
  const put = (value, width) => {
    for (let bit = width - 1; bit >= 0; bit -= 1) bits.push((value >> bit) & 1);
  };
  put(0b0100, 4);
  put(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) put(byte, 8);
  put(0, 4);
  const words = [];
  for (let at = 0; at < bits.length; at += 8) words.push(parseInt(bits.slice(at, at + 8).join(""), 2));
  for (let pad = 0xec; words.length < room; pad ^= 0xec ^ 0x11) words.push(pad);
  return words;
}

/** Cuts the data into blocks, corrects each, and takes a codeword of each in turn. */
function interleaved(data, version) {
  const count = BLOCKS[version - 1];
  const length = Math.floor(data.length / count);
  const longFrom = count - (data.length % count);
  const divisor = divisorOf(CORRECTION[version - 1]);
  const [words, corrections] = [[], []];
  for (let index = 0, at = 0; index < count; index += 1) {
    const end = at + length + (index >= longFrom ? 1 : 0);
    words.push(data.slice(at, end));
    corrections.push(remainderOf(words[index], divisor));
    at = end;
  }
  const turns = (blocks) => blocks.at(-1).flatMap((_, at) => blocks.flatMap((block) => block.slice(at, at + 1)));
  return [...turns(words), ...turns(corrections)];
}

/** A product in the field with 256 elements (x^8 + x^4 + x^3 + x^2 + 1). */
function times(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    product = (product << 1) ^ ((product >> 7) * 0x11d) ^ (((b >> bit) & 1) * a);
  }
  return product;
}

/** The generator polynomial (x - 1)(x - 2)(x - 4)…, without its first coefficient, which is 1. */
function divisorOf(degree) {
  const coefficients = [...new Array(degree - 1).fill(0), 1];
  let root = 1;
  for (let factor = 0; factor < degree; factor += 1) {
    coefficients.forEach((value, at) => (coefficients[at] = times(value, root) ^ (coefficients[at + 1] ?? 0)));
    root = times(root, 2);
  }
  return coefficients;
}

function remainderOf(words, divisor) {
  const rest = new Array(divisor.length).fill(0);
  for (const word of words) {
    const factor = word ^ rest.shift();
    rest.push(0);
    divisor.forEach((coefficient, at) => (rest[at] ^= times(coefficient, factor)));
  }
  return rest;
}

/** All that stands in each code of a version; the rest is undefined. */
function blankGrid(version) {
  const size = 17 + 4 * version;
  const grid = Array.from({ length: size }, () => new Array(size).fill());
  for (let at = 0; at < size; at += 1) grid[6][at] = grid[at][6] = at % 2 === 0;
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
    // A finder, with the light line around it.
    drawSquare(grid, x, y, 4, (ring) => ring !== 2 && ring !== 4);
  }
  const places = alignmentPlaces(version, size);
  for (const x of places) {
    for (const y of places) {
      const isFinder = x + y === 12 || (x + y === size - 1 && (x === 6 || y === 6));
      if (!isFinder) drawSquare(grid, x, y, 2, (ring) => ring !== 1);
    }
  }
  drawFormat(grid);
  if (version >= 7) drawVersion(grid, version);
  return grid;
}

/** Where the centres of the small squares are, on both axes. */
function alignmentPlaces(version, size) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = 2 * Math.ceil((size - 13) / (2 * (count - 1)));
  return [6, ...Array.from({ length: count - 1 }, (_, index) => size - 7 - index * step)];
}

/** Rings around a centre, as far as they are on the grid. */
function drawSquare(grid, x, y, radius, isDark) {
  for (let dy = -radius; dy <= radius; dy += 1) {
    for (let dx = -radius; dx <= radius; dx += 1) {
      const row = grid[y + dy];
      if (row && x + dx >= 0 && x + dx < row.length) row[x + dx] = isDark(Math.max(Math.abs(dx), Math.abs(dy)));
    }
  }
}

/** `value`, and behind it the remainder of its division by a polynomial. */
function withRemainder(value, divisor, degree) {
  let rest = value;
  for (let step = 0; step < degree; step += 1) rest = (rest << 1) ^ ((rest >> (degree - 1)) * divisor);
  return (value << degree) | rest;
}

/** The format, twice, and the one module that is always dark. */
function drawFormat(grid) {
  const size = grid.length;
  const bits = withRemainder(FORMAT, 0x537, 10) ^ 0x5412;
  for (let index = 0; index < 15; index += 1) {
    const down = index < 6 ? index : index < 8 ? index + 1 : size - 15 + index;
    const along = index < 8 ? size - 1 - index : index === 8 ? 7 : 14 - index;
    grid[down][8] = grid[8][along] = ((bits >> index) & 1) === 1;
  }
  grid[size - 8][8] = true;
}

function drawVersion(grid, version) {
  const bits = withRemainder(version, 0x1f25, 12);
  for (let index = 0; index < 18; index += 1) {
    const [far, near] = [grid.length - 11 + (index % 3), Math.floor(index / 3)];
    grid[far][near] = grid[near][far] = ((bits >> index) & 1) === 1;
  }
}

/** Draws the codewords in columns of two, from the right, up and down in turn; every other module is turned over. */
function fill(grid, codewords) {
  const size = grid.length;
  let bit = 0;
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5; // The timing line is in no column.
    const isUp = ((right + 1) & 2) === 0;
    for (let step = 0; step < size; step += 1) {
      const y = isUp ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (grid[y][x] !== undefined) continue;
        const isDark = ((codewords[bit >> 3] >> (7 - (bit & 7))) & 1) === 1;
        grid[y][x] = isDark !== ((x + y) % 2 === 0);
        bit += 1;
      }
    }
  }
}
