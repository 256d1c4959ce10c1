package proxy

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/superinstance/keeper/internal/scanner"
)

// awsEventStream is the media type of AWS's binary event streams: frames of
// total length, length of the headers, CRC-32 of these two, headers, payload and
// CRC-32 of all before (https://smithy.io/2.0/aws/amazon-eventstream.html).
const awsEventStream = "application/vnd.amazon.eventstream"

const (
	frameOverhead = 16                               // bytes: three of four before the headers, one behind the payload
	frameBytes    = 16<<20 + 128<<10 + frameOverhead // the most that AWS lets payload and headers have
)

// errNoFrame says that a stream is not made of whole frames.
var errNoFrame = errors.New("stream is not made of frames")

// frames hands a binary event stream on in whole frames, so that one which is cut
// ends where another frame can follow. It is not safe for concurrent use.
type frames struct {
	to   io.Writer
	part []byte // the frame that is not complete yet
}

// Write keeps at most one frame back. Its error is errNoFrame or that of the
// writer below.
func (f *frames) Write(p []byte) (int, error) {
	f.part = append(f.part, p...)
	done := 0
	for {
		n, err := frameLength(f.part[done:])
		if err != nil {
			return 0, err
		}
		if n == 0 || len(f.part)-done < n {
			break
		}
		if _, err := f.to.Write(f.part[done : done+n]); err != nil {
			return 0, err
		}
		done += n
	}
	if done > 0 { // and not at each piece of a long frame
		f.part = append(f.part[:0], f.part[done:]...)
	}
	return len(p), nil
}

// end reports errNoFrame where the stream ended within a frame.
func (f *frames) end() error {
	if len(f.part) > 0 {
		return errNoFrame
	}
	return nil
}

// flushed is a redactor that is given frames: a frame's end is the end of a text,
// so that its last word is not held back until the next.
type flushed struct{ *scanner.Redactor }

func (f flushed) Write(frame []byte) (int, error) {
	n, err := f.Redactor.Write(frame)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

// frameLength is the length of the frame that p begins with, 0 where p does not
// show it yet.
func frameLength(p []byte) (int, error) {
	if len(p) < 12 {
		return 0, nil
	}
	total, headers := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
	if total > frameBytes || total < frameOverhead || headers > total-frameOverhead || crc32.ChecksumIEEE(p[:8]) != binary.BigEndian.Uint32(p[8:]) {
		return 0, errNoFrame
	}
	return int(total), nil
}

// errorFrame is a frame that AWS's clients raise as an error of that name.
func errorFrame(name, message string) []byte {
	headers := frameHeader(nil, ":message-type", "error")
	headers = frameHeader(headers, ":error-code", name)
	headers = frameHeader(headers, ":error-message", message)
	frame := binary.BigEndian.AppendUint32(nil, uint32(frameOverhead+len(headers)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(headers)))
	frame = binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(frame))
	frame = append(frame, headers...)
	return binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(frame))
}

// frameHeader appends a header whose value is a text (type 7), which a name has
// one byte and a value two for the length of.
func frameHeader(to []byte, name, value string) []byte {
	value = shorten(value, 1<<10)
	to = append(to, byte(len(name)))
	to = append(to, name...)
	to = binary.BigEndian.AppendUint16(append(to, 7), uint16(len(value)))
	return append(to, value...)
}
