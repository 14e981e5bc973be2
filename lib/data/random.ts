/** Murmur3's finaliser: a bijection of 32-bit words that mixes every bit into every other. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return word ^ (word >>> 16);
}

const rotate = (word: number, bits: number) => (word << bits) | (word >>> (32 - bits));

/**
 * xoshiro128** (Blackman and Vigna), its state filled from (seed, stream), for ever the same and on every machine. Returns 32-bit unsigned
 * words. `seed` is a whole number from 0 to 2^53 - 1, `stream` one from 0 to 2^32 - 1.
 */
export function generator(seed: number, stream: number): () => number {
  const words = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, stream >>> 0];
  let hash = 0;
  for (const word of words) hash = (mix(hash ^ word) + 0x9e3779b9) | 0;
  // Murmur3's finaliser over a counter, as splitmix does: four distinct words, so the state is never all zero.
  let [a, b, c, d] = [1, 2, 3, 4].map((i) => mix(hash + Math.imul(i, 0x9e3779b9))) as [number, number, number, number];
  return () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11);
    return result;
  };
}
