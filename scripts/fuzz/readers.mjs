/**
 * What is fuzzed. A reader has the `name` of its file, `seeds` (files that it reads), perhaps `make` (a file that is wrong in its meaning
 * and not only in its bytes), `prepare` and `beside` (what else lies in the folder), and `read`.
 */
import { Chance, hash, mutate } from './mutate.mjs';
import { data } from './readers/data.mjs';
import { models } from './readers/models.mjs';
import { weights } from './readers/weights.mjs';

export const readers = { ...weights, ...models, ...data };

/** The file of a case, which the reader, the seed and the case's number determine. The first of each reader are its seeds as they are. */
export function caseOf(name, seed, number) {
  const { seeds, make } = readers[name];
  if (number < seeds.length) return seeds[number];
  const chance = new Chance(hash(seed, Object.keys(readers).indexOf(name), number));
  const made = make && chance.is(0.5) ? make(chance) : chance.of(seeds);
  return make && chance.is(0.5) ? made : mutate(chance, made, chance.of(seeds));
}
