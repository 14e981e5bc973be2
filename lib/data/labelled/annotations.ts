import { z } from 'zod';

import { KueaError, named, reason } from '../../errors.js';
import { readRegular } from '../../regular-file.js';
import { utf8 } from './text-files.js';

/** An image, by its path below the folder of the images, and what is said of it. */
export interface CaptionedImage {
  path: string;
  captions: string[];
}

/** Bytes of a file of captions at most: Karpathy's of COCO has 144 MB. */
const largestFile = 1 << 28;

/** Karpathy's dataset_flickr30k.json, dataset_flickr8k.json and dataset_coco.json. */
const karpathySchema = z.object({
  images: z.array(
    z.object({
      filename: z.string(),
      filepath: z.string().optional(),
      split: z.string(),
      sentences: z.array(z.object({ raw: z.string() })),
    }),
  ),
});

/** COCO's captions_val2014.json and CLIP_benchmark's coco_test_karpathy.json. */
const cocoSchema = z.object({
  images: z.array(z.object({ id: z.int(), file_name: z.string() })),
  annotations: z.array(z.object({ image_id: z.int(), caption: z.string() })),
});

function bad(file: string, found: string, cause?: unknown): KueaError {
  return new KueaError(
    'bad_annotations',
    `expected captions in ${file} as Karpathy's dataset_flickr30k.json, COCO's captions or CLIP_benchmark's flickr30k_test_karpathy.txt ` +
      `have them, found ${found}`,
    { cause },
  );
}

/**
 * The captions of a file: of Karpathy's json those of `split`; COCO's json, its images by id; or lines `name.jpg,caption` after a first
 * line. Throws KueaError `bad_annotations`, `split_not_found`, and `bad_labels` for text that is not UTF-8.
 */
export async function readAnnotations(file: string, split: string): Promise<CaptionedImage[]> {
  const text = utf8(await readRegular(file, largestFile), file);
  const images = /\.json$/i.test(file) ? fromJson(file, text, split) : fromLines(file, text);
  if (images.length === 0) throw bad(file, 'no image');
  const paths = new Set<string>();
  for (const { path, captions } of images) {
    if (paths.has(path)) throw bad(file, `the image ${named(path)} twice`);
    if (captions.length === 0) throw bad(file, `no caption for the image ${named(path)}`);
    paths.add(path);
  }
  return images;
}

function fromJson(file: string, text: string, split: string): CaptionedImage[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw bad(file, `no JSON (${reason(cause)})`, cause);
  }
  const coco = typeof json === 'object' && json !== null && 'annotations' in json;
  const parsed = coco ? cocoSchema.safeParse(json) : karpathySchema.safeParse(json);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw bad(file, `${named(path.join('.') || 'the whole')}: ${message}`, parsed.error);
  }
  return 'annotations' in parsed.data ? fromCoco(file, parsed.data) : fromKarpathy(file, parsed.data, split);
}

function fromKarpathy(file: string, { images }: z.infer<typeof karpathySchema>, split: string): CaptionedImage[] {
  const chosen = images.filter((image) => image.split === split);
  if (chosen.length === 0) {
    const splits = [...new Set(images.map((image) => image.split))].join(', ');
    throw new KueaError('split_not_found', `expected images of the split ${split} in ${file}, found those of ${named(splits)}`);
  }
  return chosen.map(({ filepath, filename, sentences }) => ({
    path: filepath ? `${filepath}/${filename}` : filename,
    captions: sentences.map(({ raw }) => raw),
  }));
}

/** In torchvision's order: images by their ids, captions as they come. */
function fromCoco(file: string, { images, annotations }: z.infer<typeof cocoSchema>): CaptionedImage[] {
  const byId = new Map<number, CaptionedImage>();
  for (const { id, file_name: path } of [...images].sort((a, b) => a.id - b.id)) {
    if (byId.has(id)) throw bad(file, `two images of the id ${id}`);
    byId.set(id, { path, captions: [] });
  }
  for (const { image_id: id, caption } of annotations) {
    const image = byId.get(id);
    if (!image) throw bad(file, `a caption for the image ${id}, which is not listed`);
    image.captions.push(caption);
  }
  return [...byId.values()];
}

/** The first line is a header. Captions have commas, and so the name ends where its extension does. */
function fromLines(file: string, text: string): CaptionedImage[] {
  const separator = '.jpg,';
  const images = new Map<string, string[]>();
  text.split(/\r\n|\r|\n/).forEach((whole, i) => {
    const line = whole.trim();
    if (i === 0 || line === '') return;
    const at = line.indexOf(separator);
    if (at < 1) throw bad(file, `"${named(line)}" in line ${i + 1} instead of name.jpg,caption`);
    const path = line.slice(0, at + separator.length - 1);
    const captions = images.get(path) ?? [];
    if (captions.length === 0) images.set(path, captions);
    captions.push(line.slice(at + separator.length));
  });
  return Array.from(images, ([path, captions]) => ({ path, captions }));
}
