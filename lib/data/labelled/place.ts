import { stat } from 'node:fs/promises';

import { KueaError } from '../../errors.js';
import type { FetchOptions } from '../../files/hub/fetch.js';
import { checkTask, findNamedSet, type LabelledTask, type NamedSet, namedSet } from './named.js';

/** Where a set is: a path; or a published set, at a path or wherever it is found. */
export type Place = string | { dataset: string; path?: string | undefined };

export interface PlaceOptions extends FetchOptions {
  /** Default 'test'. */
  split?: string | undefined;
  /** Whether a published set may have other numbers of images, captions, classes and templates than it was published with. */
  allowPartial?: boolean | undefined;
}

export interface FoundPlace {
  path: string;
  isFolder: boolean;
  /** What is known of a published set. */
  set: NamedSet | null;
}

/**
 * Finds a set, fetching a published one where it has to. Throws KueaError `data_not_found`, `wrong_task` for a published set that is made
 * for something else, and what `namedSet` and `findNamedSet` throw.
 */
export async function findPlace(
  place: Place,
  split: string,
  tasks: readonly LabelledTask[],
  options: FetchOptions = {},
): Promise<FoundPlace> {
  const set = typeof place === 'string' ? null : await namedSet(place.dataset);
  if (set) checkTask(set, tasks);
  const path = (typeof place === 'string' ? place : place.path) ?? (await findNamedSet(set!, split, options));
  const found = await stat(path).catch(() => null);
  if (!found) throw new KueaError('data_not_found', `expected data for ${tasks.join(' or ')}, found nothing at ${path}`);
  return { path, isFolder: found.isDirectory(), set };
}
