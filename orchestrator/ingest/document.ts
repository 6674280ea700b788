/** Where a page lies in the text, in UTF-16 code units: text.slice(start, end). */
export interface PageSpan {
  /** Counted from 1. */
  number: number;
  start: number;
  end: number;
}

/** A file to read. What its bytes show decides its type; name and media type break ties. */
export interface DocumentFile {
  path: string;
  /** File name as the caller gave it, for messages and the type; '' for bare text. */
  name: string;
  /** As the caller gave it. */
  mediaType?: string | undefined;
}

/** What a reader made of a file. */
export interface ReadDocument {
  text: string;
  /** In order; absent when the format has no pages. A page without text is an empty span. */
  pages?: PageSpan[] | undefined;
  /** The document's own title, or ''. */
  title: string;
  mediaType: string;
  /** What the reader could not do, for the person who uploaded the file. */
  warnings: string[];
}
