package scanner

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

const longestPublished = 256

// published says whether p is a key that a vendor prints in its documentation.
func published(p []byte) bool {
	if len(p) > longestPublished {
		return false
	}
	hash := sha256.Sum256(p)
	sum := binary.BigEndian.Uint64(hash[:8])
	if start := sum >> startShift; publishedStarts[start>>6]&(1<<(start&63)) == 0 {
		return false
	}
	for _, list := range [][]uint64{publishedKeys, documentedKeys} {
		if _, ok := slices.BinarySearch(list, sum); ok {
			return true
		}
	}
	return slices.Contains(standardKeys, sum)
}

const startShift = 64 - 15 // of a hash, so that most others have another start

// publishedStarts has the starts of all hashes that published knows.
var publishedStarts = func() (t [1 << 15 / 64]uint64) {
	for _, list := range [][]uint64{publishedKeys, documentedKeys, standardKeys} {
		for _, sum := range list {
			start := sum >> startShift
			t[start>>6] |= 1 << (start & 63)
		}
	}
	return t
}()

// documentedKeys are as publishedKeys those that the documentation of AWS, Azure's
// emulators, Discord, GitHub, Google, Mailgun, Slack, Stripe and Telegram print,
// and RFC 6455, 6749, 6750, 7515 and 7617.
var documentedKeys = []uint64{
	0x0011cc25eb432071, 0x00cf4c781dc37003, 0x02f7ce3c263f85c0, 0x0b5dd075ccdd03c4,
	0x0d7e920845ed3423, 0x0e9d220616f08345, 0x15cef4b629cc2d07, 0x1a5d44a2dca19669,
	0x2cafc0970149a84f, 0x3543c50b0cb9cea8, 0x53f5da0aaa93d64c, 0x6c96130f130ab0d6,
	0x6d7fa4e64d4b1f3e, 0x731fa294d036e54f, 0x73f71af093fdf154, 0x78314b11be2e5815,
	0x797c0ce414586cc8, 0x7e8de44ea9ecf6d5, 0x82e74299544e0073, 0x86007eb367696d32,
	0x8b1b17a9740c068a, 0x9c846fdf0fa8955c, 0xa35b81a7d7927b70, 0xa4526cb8cdbf802f,
	0xaa6547439583c3a2, 0xac9265e56c79b234, 0xad62d48d8b069026, 0xb1471f544ceeea31,
	0xb8e148545b13c78b, 0xbc3ae723f57c6b9e, 0xc6ea27c534f993d3, 0xca7459e2b26776de,
	0xcb20d34a7adda2f5, 0xcf4d418ed3de92d7, 0xe21b597ba6b9cafa, 0xe4da07ad200089ce,
	0xe9974c507d2a8021, 0xf2d6ca16515033e5, 0xf5375a46365089a8,
}
