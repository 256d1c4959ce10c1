package segment

import "os"

// FailWrite and the others have the disk return an error from now on for as long as fail does.
// A write that fails has written half. Not while an Append is under way.
func (l *Log) FailWrite(fail func() error) {
	l.disk.write = func(f *os.File, b []byte, at int64) error {
		err := fail()
		if err != nil {
			b = b[:len(b)/2]
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		return err
	}
}

func (l *Log) FailSync(fail func() error) {
	l.disk.sync = func(f *os.File) error {
		if err := fail(); err != nil {
			return err
		}
		return syncData(f)
	}
}

func (l *Log) FailTruncate(fail func() error) {
	l.disk.truncate = func(f *os.File, size int64) error {
		if err := fail(); err != nil {
			return err
		}
		return f.Truncate(size)
	}
}

func (l *Log) FailFolder(fail func() error) {
	l.disk.folder = func(dir string) error {
		if err := fail(); err != nil {
			return err
		}
		return syncFolder(dir)
	}
}

// Reseal makes the checksums of a file right, as far as it can be taken for one.
func Reseal(b []byte) {
	if len(b) < headerSize {
		return
	}
	put(b[44:], sum(0, b[:44]))
	salt := sum(0, b[32:40])
	for b = b[headerSize:]; len(b) >= frameHead; {
		n := int(uint32(b[4]) | uint32(b[5])<<8 | uint32(b[6])<<16 | uint32(b[7])<<24)
		if n > len(b)-frameHead {
			return
		}
		put(b, sum(salt, b[4:frameHead+n]))
		b = b[frameHead+n:]
	}
}

func put(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}
