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
  private current: { epoch: number; pieceOf: (update: number) => Uint32Array } | undefined;

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
    if (this.current?.epoch !== epoch) this.current = { epoch, pieceOf: this.piecesOf(epoch) };
    return this.current.pieceOf(update % this.updatesPerEpoch);
  }

  /**
   * What gives the samples of each update of an epoch. Dealing out is left to the update: all at once would stop the program for most of a
   * second.
   */
  private piecesOf(epoch: number): (update: number) => Uint32Array {
    const { members, lengths, seed, order } = this.options;
    const piece = (list: Uint32Array, i: number) => list.slice(i * this.perUpdate, (i + 1) * this.perUpdate);
    if (order === 'sequential') return (update) => piece(members, update);
    const shuffled = (list: Uint32Array, stream: number) =>
      permutation(list.length, seed, epoch * streamsPerEpoch + stream).map((i) => list[i]!);
    if (order === 'shuffle') {
      const list = shuffled(members, 0);
      return (update) => piece(list, update);
    }

    const image = shuffled(
      members.filter((i) => lengths[i]! > 0),
      0,
    );
    const text = shuffled(
      members.filter((i) => lengths[i]! <= 0),
      1,
    );
    const balanced = (list: Uint32Array, i: number) => Uint32Array.from(this.balanced([...piece(list, i)]));
    if (image.length === 0 || text.length === 0) return (update) => balanced(image.length > 0 ? image : text, update);
    // The last of each may be smaller; together they come last.
    const [images, texts] = [image, text].map(({ length }) => Math.ceil(length / this.perUpdate) - 1) as [number, number];
    const rest = Uint32Array.from([...piece(image, images), ...piece(text, texts)]).sort();
    const batchOrder = permutation(images + texts, seed, epoch * streamsPerEpoch + 2);
    return (update) => {
      if (update >= batchOrder.length) return piece(rest, update - batchOrder.length);
      const batch = batchOrder[update]!;
      return batch < images ? balanced(image, batch) : balanced(text, batch - images);
    };
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
