/**
 * Common English words of four letters, each one token for the usual vocabularies. As all have the same number of bytes, one
 * can be written over another in a request that is encoded already.
 */
export const FOUR_LETTERS: readonly string[] = (
  'that with from were this they have also been when into time what said over then more like back them only some just ' +
  'made than most down well year will city such used part know your many both even head team born film long work high ' +
  'eyes took life same each name much four area here away left home best make hand last very take good game want side ' +
  'held west face came town june line july club went york east show come five next room love look song body band once ' +
  'open king book door need road knew main felt play near park army help late told ever days find tell half form gave ' +
  'lost full must live land seen sure free give feel does feet hard hall role fire case keep wife mind soon able upon ' +
  'done lead rock dark hair arms site girl real less past blue stop call race move post lake rest care star week turn ' +
  'news sent term gold fact dead says word tour deep kind idea mean wall type talk food seat arts else sold list wide'
).split(' ');

/** Words of other lengths, to fill up. */
export const FILLERS: readonly string[] = (
  'the server small questions different users one pass over model weights and keep every answer fast some are others ' +
  'short river history science market between during because children government company water system music church ' +
  'number large family school state country public century early often found under several around group second third ' +
  'power after before against world national american university'
).split(' ');
