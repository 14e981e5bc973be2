import { KueaError } from '../errors.js';
import { writeWhole } from '../files/output.js';
import type { ExportLayout, WeightsFile, Write } from './kind.js';
import { namesExportedAs } from './registry.js';

export { type ExportLayout, exportLayouts } from './kind.js';

/**
 * Writes a model in a layout, fp32: `hf` and `open_clip` make the folder `out`, `openai` and `visual` the file `out`. Made beside its name
 * and renamed, so `out` is whole or absent. Throws KueaError `not_exportable`, `no_text_tower`, `origin_not_found`, `exists`, and what
 * writing throws (`disk_full`).
 */
export async function exportWeights(weights: WeightsFile, layout: ExportLayout, out: string, write: Write): Promise<void> {
  const { kind, ref } = weights;
  const make = kind.exports[layout];
  if (!make) throw new KueaError('not_exportable', `expected ${namesExportedAs(layout)} to export, found ${kind.name} in ${ref}`);
  // The vision tower alone has no companions.
  const { text, folder, layout: source } = layout === 'visual' ? weights : await weights.companions();
  await writeWhole(out, (made) => make({ ...weights, text, folder, layout: source }, made, write));
}
