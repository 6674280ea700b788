/**
 * Texts for comparing two versions that bring no golden set: words, questions, sentences and passages on unlike and on
 * neighbouring topics, with numbers, code, other scripts and a mistyped line, so that there are near and far pairs.
 */
export const comparisonTexts: readonly string[] = [
  'lighthouse',
  'how to sharpen a kitchen knife',
  'A whetstone of 1000 grit puts a working edge on a kitchen knife; finish on 3000 and strop it.',
  'Keep the blade at the same angle, about fifteen degrees, and draw it over the stone from heel to tip.',
  'why is bread dough sticky',
  'Sourdough rises slowly because wild yeast is scarce; a warm kitchen and a ripe starter shorten the wait.',
  'The bakery on the corner sells rye bread on Tuesdays.',
  'What is the capital of Mongolia?',
  'Ulaanbaatar, where nearly half of all Mongolians live, lies in the valley of the Tuul river.',
  'The train to the coast leaves at 7:42 from platform 3 and takes two hours and a quarter.',
  'return the items of a list in reverse order without changing the list',
  'function reversed(items) { return items.slice().reverse(); }',
  'SELECT name, price FROM products WHERE stock > 0 ORDER BY price DESC LIMIT 10;',
  'An index speeds up reading and slows down writing, since every insert has to keep it in order as well.',
  'The patient complains of a dry cough and a mild fever that began four days ago.',
  'Drink enough, rest, and see a doctor if the fever lasts for more than three days or breathing becomes hard.',
  'Net income fell by 12 % to 3.4 million in the second quarter, mostly because of higher energy prices.',
  'Either party may end this agreement in writing, with notice of thirty days to the end of a month.',
  'Der Leuchtturm warnt die Schiffe vor den Felsen.',
  'Le phare avertit les navires des rochers pendant la nuit.',
  '灯台は夜の海で船を導く。',
  'teh quik brwon fox jmups ovr teh lazi dog',
  'The keeper climbed the spiral stairs every evening to light the lamp. On clear nights its beam could be seen for twenty miles; in fog it was the horn that counted, one long blast every half minute. When the station was automated in 1982, he was moved to the mainland, and the rooms below the lantern have stood empty ever since, apart from gulls.',
  'Photosynthesis turns light, water and carbon dioxide into sugar and oxygen. The first stage splits water in the membranes of the thylakoids and stores the energy of light in two carriers; the second, which needs no light by itself, spends them to bind carbon from the air. Nearly all food, and all the oxygen that we breathe, goes back to this one reaction.',
];
