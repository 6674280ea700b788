import type { SourcedValue } from '../reports.ts';
import type { Sourced } from './hub-files.ts';

/** Collects the values that hold for a model, and where each came from. */
export class Origins {
  readonly all: SourcedValue[] = [];
  readonly #file: string;

  /** `file` is the name of the file with the configuration; empty when there is none. */
  constructor(file: string) {
    this.#file = file;
  }

  /** A value whose source is known. */
  sourced<Value>(field: string, { value, source }: Sourced<Value>): Value {
    this.all.push({ field, value: valueText(value), source });
    return value;
  }

  /** A value of the configuration file, or (when that has none) the default. */
  fromFile<Value>(field: string, value: Value | undefined, fallback: Value): Value {
    const isSet = value !== undefined;
    return this.sourced(field, {
      value: isSet ? value : fallback,
      source: isSet ? `${this.#file} ${field}` : 'default',
    });
  }

  /** The same for a value that the server's settings stand in for. */
  orServer<Value>(field: string, value: Value | undefined): Value | undefined {
    if (value === undefined) this.all.push({ field, value: "the server's", source: 'default' });
    else this.fromFile(field, value, value);
    return value;
  }

  /** One of the file's parameters, or else what was derived from other files. */
  parameterOr<Value>(field: string, value: Value | undefined, derived: Sourced<Value>): Value {
    if (value === undefined) return this.sourced(field, derived);
    return this.sourced(field, { value, source: `${this.#file} parameters ${field}` });
  }
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}
