import type { VersionPolicy } from './version-policy.ts';

interface VersionPlace {
  /** Of the model. */
  name: string;
  version: number;
  /** The model's folder: holds config.pbtxt and what its versions share. */
  folder: string;
  /** Holds the model file, and whatever of the tokenizer and hub files is its own. */
  versionFolder: string;
  modelFile: string;
  /**
   * Names, sizes, times and inodes of all files that decide what this version does: it changes whenever one of them does.
   * Empty when they can't be read.
   */
  signature: string;
  /** When the newest of those files changed, in milliseconds since the epoch. */
  changedMs: number;
}

/** A version that can be loaded: its model file is whole and all that it needs is there. */
export interface CompleteVersion extends VersionPlace {
  complete: true;
}

/** A version that can't be loaded (yet). */
export interface IncompleteVersion extends VersionPlace {
  complete: false;
  /** What is missing or wrong. */
  why: string;
}

/** One version folder of the repository. */
export type VersionFiles = CompleteVersion | IncompleteVersion;

/** One model folder of the repository. */
export interface ModelFolder {
  name: string;
  folder: string;
  /** Rising. */
  versions: VersionFiles[];
  /** Undefined when the configuration can't be read. */
  versionPolicy: VersionPolicy | undefined;
  /** What is wrong and does not mend itself: a broken config, a checksum that does not agree. */
  problems: string[];
  /** Changes whenever a file of the model or of one of its versions does; empty when the folder could not be read. */
  signature: string;
}
