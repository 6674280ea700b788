import type { Layout } from './layout.ts';

/** Texts of one length in one batch. */
export interface Shape {
  rows: number;
  /** Tokens of each. */
  length: number;
}

/** Where layouts are timed: their instances, and runs on them. The first layout's instances are open from the start. */
export interface Workbench {
  /**
   * Opens the instances of a layout beside those that are open.
   * @returns whether there was room for them
   */
  open(layout: Layout): Promise<boolean>;
  /** Closes every instance that none of these layouts needs. */
  keep(layouts: readonly Layout[]): Promise<void>;
  /** Runs a shape on all instances of the layout at once. @returns texts in a second */
  saturate(layout: Layout, shape: Shape): Promise<number>;
  /** Runs one text on one instance. @returns milliseconds */
  alone(layout: Layout, shape: Shape): Promise<number>;
}
