/** A line of a page: text and where it stands, in points from the lower left corner. */
export interface PdfTestLine {
  text: string;
  x?: number;
  y: number;
  size?: number;
}

interface PdfTestStream {
  bytes: Uint8Array;
  /** Value of the stream's /Filter, when it is packed. */
  filter?: string;
}

function escaped(text: string): string {
  return text.replace(/[\\()]/g, '\\$&');
}

function content(lines: readonly PdfTestLine[]): PdfTestStream {
  const shown = lines.map(
    ({ text, x = 72, y, size = 10 }) => `BT /F1 ${size} Tf ${x} ${y} Td (${escaped(text)}) Tj ET`,
  );
  return { bytes: Buffer.from(shown.join('\n'), 'latin1') };
}

/** A PDF of pages with lines of Helvetica, or with content streams of any bytes. */
export function tinyPdf(
  pages: readonly (readonly PdfTestLine[] | PdfTestStream)[],
  { title }: { title?: string } = {},
): Buffer {
  const kids = pages.map((_, i) => `${4 + i * 2} 0 R`).join(' ');
  const objects: (string | Buffer)[] = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    `<< /Type /Pages /Kids [${kids}] /Count ${pages.length} >>`,
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>',
  ];
  for (const [i, page] of pages.entries()) {
    const { bytes, filter } = 'bytes' in page ? page : content(page);
    const packed = filter === undefined ? '' : ` /Filter ${filter}`;
    objects.push(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents ${5 + i * 2} 0 R >>`,
      Buffer.concat([
        Buffer.from(`<< /Length ${bytes.byteLength}${packed} >>\nstream\n`),
        bytes,
        Buffer.from('\nendstream'),
      ]),
    );
  }
  if (title !== undefined) objects.push(`<< /Title (${escaped(title)}) >>`);
  return assemble(objects, title === undefined ? undefined : objects.length);
}

function assemble(objects: readonly (string | Buffer)[], info: number | undefined): Buffer {
  const parts: Buffer[] = [Buffer.from('%PDF-1.4\n')];
  const offsets: number[] = [];
  let length = parts[0]!.length;
  const push = (part: Buffer) => {
    parts.push(part);
    length += part.length;
  };
  for (const [i, object] of objects.entries()) {
    offsets.push(length);
    push(Buffer.from(`${i + 1} 0 obj\n`));
    push(Buffer.from(object));
    push(Buffer.from('\nendobj\n'));
  }
  const start = length;
  const rows = offsets.map((offset) => `${String(offset).padStart(10, '0')} 00000 n \n`).join('');
  const infoEntry = info === undefined ? '' : ` /Info ${info} 0 R`;
  push(Buffer.from(`xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${rows}`));
  push(
    Buffer.from(
      `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R${infoEntry} >>\nstartxref\n${start}\n%%EOF\n`,
    ),
  );
  return Buffer.concat(parts);
}
