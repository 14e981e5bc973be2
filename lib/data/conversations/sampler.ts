import { KueaError } from '../../errors.js';
import { permutation } from '../images/sampler.js';

/** Streams of the seed within an epoch: one each for the two modalities and the order of the batches. */
const streamsPerEpoch = 4;

/** Restores the order of a binary heap after its first element has grown. */
function sink(heap: number[], before: (a: number, b: number) => boolean): void {
  for (let at = 0; ; ) {
    const [left, right] = [2 * at + 1, 2 * at + 2];
    let least = at;
    if (left < heap.length && before(heap[left]!, heap[least]!)) least = left;
    if (right < heap.length && before(heap[right]!, heap[least]!)) least = right;
    if (least === at) return;
    [heap[at], heap[least]] = [heap[least]!, heap[at]!];
    at = least;
  }
}

export interface UpdateSamplerOptions {
  /** Samples that take part, as indices into the source. */
  members: Uint32Array;
  /** Modality lengths of the whole source. */
  lengths: Int32Array;
  /** Samples of a micro-batch, micro-batches of an update on a rank, and ranks. */
  batchSize: number;
  gradAccum: number;
  ranks: number;
  seed: number;
  /** 'modality-length': LLaVA's group_by_modality_length; 'shuffle': a new order each epoch; 'sequential': the members' order. */
  order: 'modality-length' | 'shuffle' | 'sequential';
}

/**
 * Which samples make up which update: batchSize * gradAccum * ranks of them, fewer in an epoch's last. Stateless, a function of the
 * update's number, so that resuming needs that number alone.
 */
export class UpdateSampler {
  readonly samples: number;
  /** Samples of a full update. */
  readonly perUpdate: number;
  readonly updatesPerEpoch: number;
  private current: { epoch: number; order: Uint32Array } | undefined;

  /** Throws KueaError `data_empty` when there is no sample. */
  constructor(private readonly options: UpdateSamplerOptions) {
    const { members, batchSize, gradAccum, ranks } = options;
    if (members.length === 0) throw new KueaError('data_empty', 'expected at least one sample to train on, found none');
    this.samples = members.length;
    this.perUpdate = batchSize * gradAccum * ranks;
    this.updatesPerEpoch = Math.ceil(this.samples / this.perUpdate);
  }

  epochOf(update: number): number {
    return Math.floor(update / this.updatesPerEpoch);
  }

  /** Samples of an update (from 0, over all epochs), of all ranks: micro-batch m is [m * batchSize, (m + 1) * batchSize). */
  indices(update: number): Uint32Array {
    const epoch = this.epochOf(update);
    if (this.current?.epoch !== epoch) this.current = { epoch, order: this.orderOf(epoch) };
    const start = (update % this.updatesPerEpoch) * this.perUpdate;
    return this.current.order.slice(start, start + this.perUpdate);
  }

  private orderOf(epoch: number): Uint32Array {
    const { members, lengths, seed, order } = this.options;
    if (order === 'sequential') return members;
    const shuffled = (list: Uint32Array, stream: number) =>
      permutation(list.length, seed, epoch * streamsPerEpoch + stream).map((i) => list[i]!);
    if (order === 'shuffle') return shuffled(members, 0);

    const image = shuffled(
      members.filter((i) => lengths[i]! > 0),
      0,
    );
    const text = shuffled(
      members.filter((i) => lengths[i]! <= 0),
      1,
    );
    if (image.length === 0 || text.length === 0) return Uint32Array.from(this.grouped(image.length > 0 ? image : text).flat());
    const [images, texts] = [this.grouped(image), this.grouped(text)];
    // The last of each may be smaller; together they come last.
    const rest = [...images.pop()!, ...texts.pop()!].sort((a, b) => a - b);
    const batches = [...images, ...texts];
    const batchOrder = permutation(batches.length, seed, epoch * streamsPerEpoch + 2);
    return Uint32Array.from([...Array.from(batchOrder, (i) => batches[i]!), rest].flat());
  }

  /** A shuffled list in pieces of an update each, every one in micro-batches of about the same length in sum. */
  private grouped(list: Uint32Array): number[][] {
    const pieces: number[][] = [];
    for (let start = 0; start < list.length; start += this.perUpdate)
      pieces.push(this.balanced([...list.subarray(start, start + this.perUpdate)]));
    return pieces;
  }

  /** Longest first, each into the micro-batch that is shortest so far and not full; dealt out in turn when they do not come out even. */
  private balanced(list: number[]): number[] {
    const { lengths, gradAccum, ranks } = this.options;
    const length = (i: number) => Math.abs(lengths[i]!);
    list.sort((a, b) => length(b) - length(a));
    const chunks = Array.from({ length: gradAccum * ranks }, () => ({ samples: [] as number[], sum: 0 }));
    if (list.length % chunks.length !== 0) return chunks.flatMap((_, c) => list.filter((_, i) => i % chunks.length === c));
    const room = list.length / chunks.length;
    // A heap, the shortest on top and the first of equals; one that is full is never the shortest again.
    const heap = chunks.map((_, c) => c);
    const before = (a: number, b: number) => chunks[a]!.sum < chunks[b]!.sum || (chunks[a]!.sum === chunks[b]!.sum && a < b);
    for (const i of list) {
      const shortest = chunks[heap[0]!]!;
      shortest.samples.push(i);
      shortest.sum = shortest.samples.length < room ? shortest.sum + length(i) : Infinity;
      sink(heap, before);
    }
    return chunks.flatMap(({ samples }) => samples);
  }
}
