/** Chances that a seed determines, and changes of bytes and of JSON that readers like least. */

/** Murmur3's finaliser over a running word. */
export function hash(...words) {
  let state = 0x9e3779b9;
  for (const word of words) {
    state = Math.imul(state ^ word, 0x85ebca6b);
    state ^= state >>> 13;
    state = Math.imul(state, 0xc2b2ae35);
    state ^= state >>> 16;
  }
  return state >>> 0;
}

/** Draws from a seed (mulberry32). */
export class Chance {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  /** In [0, 1). */
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number below `n`. */
  below(n) {
    return Math.floor(this.next() * n);
  }

  is(probability) {
    return this.next() < probability;
  }

  of(list) {
    return list[this.below(list.length)];
  }
}

const edges = [
  0,
  1,
  2,
  3,
  7,
  8,
  63,
  64,
  127,
  128,
  255,
  256,
  512,
  4096,
  32767,
  32768,
  65535,
  65536,
  2 ** 24,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
];
const wide = [0n, 1n, 255n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 100_000_000n, 100_000_001n];

/** A number of 1, 2, 4 or 8 bytes at the edge of what it can hold, or a little more or less than it was, in either order of bytes. */
function overwriteNumber(chance, bytes) {
  const size = chance.of([1, 2, 4, 8]);
  if (bytes.length < size) return;
  const at = chance.below(bytes.length - size + 1);
  if (size === 8) {
    if (chance.is(0.5)) bytes.writeBigUInt64LE(chance.of(wide), at);
    else bytes.writeBigUInt64BE(chance.of(wide), at);
    return;
  }
  const modulus = 2 ** (8 * size);
  const value = (chance.is(0.7) ? chance.of(edges) : bytes.readUIntLE(at, size) + modulus + chance.below(9) - 4) % modulus;
  if (chance.is(0.7)) bytes.writeUIntLE(value, at, size);
  else bytes.writeUIntBE(value, at, size);
}

/** A run of bytes of `bytes`. */
function piece(chance, bytes, most = 64) {
  const at = chance.below(bytes.length + 1);
  return [at, at + chance.below(Math.min(most, bytes.length - at) + 1)];
}

const byteChanges = [
  (chance, bytes) => {
    if (bytes.length > 0) bytes[chance.below(bytes.length)] ^= 1 << chance.below(8);
    return bytes;
  },
  (chance, bytes) => {
    if (bytes.length > 0) bytes[chance.below(bytes.length)] = chance.below(256);
    return bytes;
  },
  (chance, bytes) => {
    overwriteNumber(chance, bytes);
    return bytes;
  },
  // A number that is written in letters.
  (chance, bytes) => {
    const text = bytes.toString('latin1');
    const numbers = [...text.matchAll(/\d+/g)];
    if (numbers.length === 0) return bytes;
    const { 0: old, index } = chance.of(numbers);
    const number = chance.of(['0', '-1', '1e999', '0.5', '4294967296', '9007199254740993', '1'.repeat(400), '00000000000', '']);
    return Buffer.from(text.slice(0, index) + number + text.slice(index + old.length), 'latin1');
  },
  (chance, bytes) => bytes.subarray(0, chance.below(bytes.length + 1)),
  // Out, twice, and many times.
  (chance, bytes) => {
    const [from, to] = piece(chance, bytes);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  (chance, bytes) => {
    const [from, to] = piece(chance, bytes, 4096);
    return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
  },
  (chance, bytes) => {
    const [from, to] = piece(chance, bytes, 16);
    const times = 1 << chance.below(12);
    return Buffer.concat([bytes.subarray(0, to), ...new Array(times).fill(bytes.subarray(from, to)), bytes.subarray(to)]);
  },
  (chance, bytes) => {
    const at = chance.below(bytes.length + 1);
    const noise = Buffer.from(Array.from({ length: 1 + chance.below(16) }, () => chance.below(256)));
    return Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at)]);
  },
  (chance, bytes, other) => {
    const [from, to] = piece(chance, other, 4096);
    const at = chance.below(bytes.length + 1);
    return Buffer.concat([
      bytes.subarray(0, at),
      other.subarray(from, to),
      bytes.subarray(chance.is(0.5) ? at : Math.min(bytes.length, at + to - from)),
    ]);
  },
];

/** Some changes of bytes, one as likely as four; `other` gives pieces to put in. */
export function mutate(chance, seed, other = seed) {
  let bytes = Buffer.from(seed);
  for (let left = 1 + chance.below(4); left > 0; left--) bytes = chance.of(byteChanges)(chance, Buffer.from(bytes), other);
  return bytes;
}

const nested = (depth, open, close) => open.repeat(depth) + close.repeat(depth);

/** JSON that is seldom thought of; each is text, for some of it no program would write. */
const oddities = [
  'null',
  'true',
  'false',
  '0',
  '-0',
  '-1',
  '0.5',
  '1e308',
  '1e999',
  '-1e999',
  '9007199254740993',
  '2147483648',
  '1000000000',
  '64',
  '""',
  '"x"',
  '" "',
  '"\\u0000"',
  '"\\ud800"',
  '"../../x"',
  '"/dev/zero"',
  '"constructor"',
  '"__proto__"',
  '"(a+)+$"',
  '"F32"',
  '"1"',
  '[]',
  '{}',
  '[[]]',
  '[0]',
  '[1,2,3]',
  '[null]',
  '[1e999]',
  '{"toString":1}',
  '{"valueOf":null,"toString":null}',
  '{"__proto__":{"x":1}}',
  '{"constructor":1}',
  '{"length":1e9}',
  '{"type":"Sequence"}',
  '{"Regex":"(a+)+$"}',
].concat([
  nested(50, '[', ']'),
  nested(20_000, '[', ']'),
  nested(20_000, '{"a":', '0}').replace(/0}0/g, '0}'),
  JSON.stringify('x'.repeat(100_000)),
  JSON.stringify('▁'.repeat(300)),
  `[${'0,'.repeat(5000)}0]`,
  `{${Array.from({ length: 500 }, (_, i) => `"${i}":${i}`).join(',')}}`,
]);

/** Every place in a value: [holder, key]. */
function places(value, found = []) {
  if (typeof value !== 'object' || value === null) return found;
  for (const key of Object.keys(value)) {
    found.push([value, key]);
    places(value[key], found);
  }
  return found;
}

/** JSON of a value in which some places hold something odd, are missing, or have changed with others. */
export function mutateJson(chance, seed) {
  const value = structuredClone(seed);
  const odd = [];
  const raw = () => `@@${odd.push(chance.of(oddities)) - 1}@@`;
  for (let left = 1 + chance.below(3); left > 0; left--) {
    const all = places(value);
    if (all.length === 0) return chance.of(oddities);
    const [holder, key] = chance.of(all);
    const kind = chance.next();
    if (kind < 0.7) holder[key] = raw();
    else if (kind < 0.8) {
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
    } else if (kind < 0.9) {
      const [from, which] = chance.of(all);
      holder[key] = structuredClone(from[which] ?? null);
    } else if (Array.isArray(holder)) holder.push(raw());
    else holder[chance.of(['__proto__x', 'x', '', 'toString', 'a'.repeat(2000)])] = raw();
  }
  if (chance.is(0.01)) return chance.of(oddities);
  return JSON.stringify(value).replace(/"@@(\d+)@@"/g, (_, i) => odd[Number(i)]);
}
