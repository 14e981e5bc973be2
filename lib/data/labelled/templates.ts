import { KueaError, named } from '../../errors.js';
import type { ClassifiedSet } from './sets.js';

/** What Python's str.format knows in CLIP_benchmark's templates: escaped braces, and fields, of which the class name is the only one. */
const pieces = /\{\{|\}\}|\{[^{}]*\}|[{}]/g;
const slots = ['{c}', '{}', '{0}'];

/** A template with the class name in its place: `{c}`, as CLIP_benchmark writes, `{}` or `{0}`; `{{` and `}}` are braces. */
export function fillTemplate(template: string, name: string): string {
  return template.replace(pieces, (piece) => (slots.includes(piece) ? name : piece[0]!));
}

/** Throws KueaError `bad_template` when `template`, of `file`, has no place for a class name, or another field than that. */
export function checkTemplate(template: string, file: string): void {
  const found: readonly string[] = template.match(pieces) ?? [];
  const strange = found.find((piece) => !slots.includes(piece) && piece !== '{{' && piece !== '}}');
  if (strange === undefined && found.some((piece) => slots.includes(piece))) return;
  throw new KueaError(
    'bad_template',
    `expected a sentence with {c} where the class name goes on each line of ${file}, found ` +
      `${strange === undefined ? `"${named(template)}" without it` : `${strange} in "${named(template)}"`}`,
  );
}

/** Of each class its prompts, one a template. Throws KueaError `no_classes` when the set has not got names of all classes, or templates. */
export function promptsOf({ classes, classCount, templates }: ClassifiedSet): string[][] {
  if (!classes || classes.length < classCount)
    throw new KueaError(
      'no_classes',
      `expected names of ${classCount} classes, found ${classes ? classes.length : 'none'}: give a file with --classes, one name a line` +
        `${classes ? ' (the protocol kuea-release drops empty ones)' : ''}`,
    );
  if (!templates?.length)
    throw new KueaError(
      'no_classes',
      'expected templates such as "a photo of a {c}." with the data, found none: give a file with --templates, one a line',
    );
  return classes.map((name) => templates.map((template) => fillTemplate(template, name)));
}
