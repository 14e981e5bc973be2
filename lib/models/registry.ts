import type { Tensors } from '../files/tensors.js';
import type { Arch } from '../native/addon.js';
import { clip } from './clip/kind.js';
import { dinov2 } from './dinov2/kind.js';
import type { ExportLayout, Kind, Role } from './kind.js';

/** Every kind of vision encoder, in the order that a file is compared with them. */
export const kinds: readonly Kind[] = [clip, dinov2];

/** The kind of a file with these tensors, its layout, and the tensors as that kind knows them. */
export function detect(tensors: Tensors): { kind: Kind; layout: string; tensors: Tensors } | null {
  for (const kind of kinds) {
    const found = kind.detect(tensors);
    if (found) return { kind, ...found };
  }
  return null;
}

/** What computes in the addon is counted the same for every kind of its family. */
const kindOf = (arch: Arch): Kind => kinds.find(({ family }) => family === arch.family)!;

/** The names of the kinds that can do something, for errors: "a CLIP or a DINOv2". */
const namesOf = (can: (kind: Kind) => boolean): string =>
  kinds
    .filter(can)
    .map(({ name }) => name)
    .join(' or ');

export const namesFor = (role: Role | undefined): string => namesOf(({ roles }) => role === undefined || roles.includes(role));
export const namesExportedAs = (layout: ExportLayout): string => namesOf(({ exports }) => exports[layout] !== undefined);

const product = (shape: readonly number[]) => shape.reduce((all, side) => all * side, 1);

/** Numbers in all of a model's parameters. */
export const parameterCount = (arch: Arch): number =>
  kindOf(arch)
    .keys(arch)
    .reduce((sum, { shape }) => sum + product(shape), 0);

/** See Cost; each of an arch of any kind. */
export const costOf = (arch: Arch) => kindOf(arch).cost;
