/** Log lines of ingesting; a pino logger fits. */
export interface IngestLog {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
}
