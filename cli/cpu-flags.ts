import { readFileSync } from 'node:fs';

/** The instruction sets of this processor as Linux names them; undefined where the system does not tell. */
export function cpuFlags(): ReadonlySet<string> | undefined {
  try {
    const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'));
    return line === null ? undefined : new Set(line[1]!.split(/\s+/));
  } catch {
    return undefined;
  }
}
