// What a search puts first: the words that a page names in its front matter (100), titles, names of the package, then text.
// Among equals: what explains comes before rooms, and rooms before reports.
var Scorer = {
  score: ([page, title, anchor, description, score]) =>
    score + (/^(guide|tutorials|reference)\//.test(page) ? 4 : /^(reports|experiments)\//.test(page) ? -2 : 0),
  objNameMatch: 11, objPartialMatch: 6, objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
