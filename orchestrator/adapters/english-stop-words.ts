/**
 * English words that say nothing about a text's subject, in lower case: the Snowball project's list, and what its
 * contractions leave behind when they are split at the apostrophe. Both stores drop exactly these.
 */
export const englishStopWords: readonly string[] = (
  'i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it ' +
  'its itself they them their theirs themselves what which who whom this that these those am is are was were be been ' +
  'being have has had having do does did doing would should could ought a an the and but if or because as until while ' +
  'of at by for with about against between into through during before after above below to from up down in out on off ' +
  'over under again further then once here there when where why how all any both each few more most other some such ' +
  'no nor not only own same so than too very can will just ' +
  's t d m ll re ve don isn aren wasn weren hasn haven hadn doesn didn won wouldn shan shouldn couldn cannot mustn let'
).split(' ');
