/** One sample, ready for the model. */
export interface Sample {
  /** Ids, at most --max-length of them, -200 once for every patch of its image (which truncation may cut short). */
  tokens: Int32Array;
  /** As long; -100 where nothing is to be learnt. */
  labels: Int32Array;
  /**
   * Writes its image, [3, S, S] in the source's `pixels`, into `target` at `offset` (bytes). Rejects with KueaError `undecodable_image`.
   */
  copyPixels(target: Uint8Array, offset: number): Promise<void>;
}

/** The samples of a data set that can be used, in a fixed order. */
export interface SampleSource {
  readonly length: number;
  /** uint8, to be normalised on the device, or F32 to be taken as it is. */
  readonly pixels: 'u8' | 'f32';
  /** Of each sample: how long it is, in words, negative when it has no image: LLaVA's modality length. */
  readonly lengths: Int32Array;
  /** Records that were left out because they cannot be used. */
  readonly skipped: number;
  /** Of sample i, for people. */
  name(i: number): string;
  read(i: number): Promise<Sample>;
  /** Hex SHA-256 over what the samples are; each kind says what it covers. */
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}
