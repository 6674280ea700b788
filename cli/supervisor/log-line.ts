const names: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
};

/** A JSON log line (pino's) as a person reads it; any other line as it is. */
export function readableLine(line: string): string {
  if (!line.startsWith('{')) return line;
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const { level, time, msg, name: _name, pid: _pid, hostname: _hostname, ...rest } = fields;
  const parts = [
    clock(time),
    typeof level === 'number' ? (names[level] ?? String(level)) : String(level ?? ''),
    typeof msg === 'string' ? msg : '',
    ...Object.entries(rest).map(([key, value]) => `${key}=${field(value)}`),
  ];
  return parts.filter((part) => part !== '').join(' ');
}

function clock(time: unknown): string {
  if (typeof time !== 'number' && typeof time !== 'string') return '';
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? '' : date.toTimeString().slice(0, 8);
}

function field(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  if (typeof value === 'object' && value !== null && 'message' in value) return JSON.stringify(value.message);
  return JSON.stringify(value);
}
