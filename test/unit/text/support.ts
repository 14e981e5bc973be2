import llama from 'llama-tokenizer-js';

/** A protobuf field: `value` is a varint, a float ({ float }), or bytes. */
export function field(number: number, value: number | { float: number } | Uint8Array): Buffer {
  const varint = (n: number): number[] => (n < 128 ? [n] : [(n % 128) + 128, ...varint(Math.floor(n / 128))]);
  if (typeof value === 'number') return Buffer.from([...varint(number * 8), ...varint(value)]);
  if (value instanceof Uint8Array) return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(value.length)]), value]);
  const float = Buffer.alloc(4);
  float.writeFloatLE(value.float);
  return Buffer.concat([Buffer.from(varint(number * 8 + 5)), float]);
}

/** LLaMA's tokenizer.model, put together from the vocabulary and the merges of llama-tokenizer-js. */
export function llamaModel(): Buffer {
  // A merge's rank follows its piece's score; runs of spaces share the worst one.
  const scores = new Map<string, number>();
  for (const [pair, rank] of llama.merges) {
    const piece = pair.replace(' ', '');
    if (!scores.has(piece)) scores.set(piece, /^▁+$/.test(piece) ? -1e9 : -rank);
  }
  const type = (id: number) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1);
  const pieces = llama.vocabById.map((text, id) =>
    field(1, Buffer.concat([field(1, Buffer.from(text)), field(2, { float: scores.get(text) ?? 0 }), field(3, type(id))])),
  );
  const trainer = Buffer.concat([field(3, 2), field(35, 1)]);
  const normalizer = Buffer.concat([field(1, Buffer.from('identity')), field(2, Buffer.alloc(0)), field(3, 1), field(4, 0), field(5, 1)]);
  return Buffer.concat([...pieces, field(2, trainer), field(3, normalizer)]);
}

/**
 * What LLaVA's slow tokenizer gives for a text, by llama-tokenizer-js: the special tokens are cut out first, every stretch between them has
 * a dummy space.
 */
export function slowIds(text: string): number[] {
  return text.split(/(<s>|<\/s>|<unk>)/).flatMap((part) => {
    const special = ['<unk>', '<s>', '</s>'].indexOf(part);
    return special >= 0 ? [special] : llama.encode(part, false);
  });
}

/** Pseudo-random whole numbers below n, the same in every run. */
export function dice(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}
