package scanner

const (
	pairLevel = 'f' // of a pair that is as frequent in words as among random letters
	fewPairs  = 5   // of letters, by which words can't be told
)

// pairs says how frequent a pair of letters is in the words of programs and their
// documentation, by its first letter and then its second: by each step from f on
// twice as frequent as it would be by chance, and half as much before it.
var pairs = [26]string{
	"cfggcdfaebdhfgafahgheddedb", // a
	"gefdgddagfbhdcgecfgdhccagc",
	"hdedgdegeagffdhebffgedbbca",
	"geegieddhcbfeefedggefdeedb",
	"fdggeeecdacffgdedhhgceefda",
	"gdeefhdchaageegeaggffbcbea",
	"fdfdieefgabfeghebggfedcbbc",
	"iddeidcchacefdgdaffffcdadc",
	"edgffffabbbgfigfafggaeadaf",
	"gdeehecefaddeeheadidgceacb",
	"geeeiefdgaceeeeebfgefddbca",
	"gdefhddchadgcdhdbdfffdcbfb",
	"ifdehdcbgacefdghadfefcbbda",
	"gdgghfgcfaeedegdbdgheecacb",
	"feggcfebeaeffhfgahffffecaa",
	"hdfehedefaegedgfbhggfccbda",
	"deffddcddabfgdcddffdicdccd",
	"gdfeieecgaeefegdbfggedcbea",
	"fdfdhddggaefedffcegifcdbfb",
	"gdfehecfhaceedgebggfecddfb",
	"fffegfeagaagghdgagggabadac",
	"heeeieddgabeedegddfeddecbc",
	"hefegedfhbceefgechgedddcac",
	"gfgegfcdgabefdfhcefhdededb",
	"eefefedcfccehgeibehhdedccd",
	"fdedicdcgaadccfcaeeccceeef", // z
}

// What traits.pairs counts by: the number of pairs in the upper bits, and in the
// lower how frequent they are, each on a scale from which nothing is negative.
const (
	pairCount  = 24
	pairMiddle = 8
)

// letterOf is the place of a letter in the alphabet, counted from 1; 0 of what is
// none.
var letterOf = func() (t [256]uint8) {
	for c := range t {
		if isLetter(byte(c)) {
			t[c] = uint8(c|0x20) - 'a' + 1
		}
	}
	return t
}()

// pairTraits is what a pair of bytes adds to traits.pairs, by their letters.
var pairTraits = func() (t [27 << 5]int32) {
	for a, row := range pairs {
		for b := range row {
			t[(a+1)<<5|(b+1)] = 1<<pairCount + int32(row[b]) - pairLevel + pairMiddle
		}
	}
	return t
}()

// gibberish says whether the letters of p follow one another as in no words.
func gibberish(p []byte) bool { return traitsOf(p).gibberish() }
