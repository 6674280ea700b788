/** A line that tells what goes on, overwritten by the next one; nothing where nobody watches. */
export function progressLine(stream: NodeJS.WriteStream): { tell(line: string): void; clear(): void } {
  const write = (text: string) => {
    if (stream.isTTY) stream.write(`\r\x1b[K${text}`);
  };
  return { tell: write, clear: () => write('') };
}
