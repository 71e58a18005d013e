package websocket

import (
	"encoding/binary"
	"math/bits"
)

// unmask writes src to dst, each byte with its byte of the mask undone, and returns the mask for what follows src. The lowest
// byte of mask is for the first byte of src (RFC 6455 section 5.3). dst is at least as long as src; it may be src, or begin before
// it in the same array: what is written never reaches what has not been read.
func unmask(dst, src []byte, mask uint32) uint32 {
	wide := uint64(mask)<<32 | uint64(mask)
	for len(src) >= 32 && len(dst) >= 32 {
		a := binary.LittleEndian.Uint64(src)
		b := binary.LittleEndian.Uint64(src[8:])
		c := binary.LittleEndian.Uint64(src[16:])
		d := binary.LittleEndian.Uint64(src[24:])
		binary.LittleEndian.PutUint64(dst, a^wide)
		binary.LittleEndian.PutUint64(dst[8:], b^wide)
		binary.LittleEndian.PutUint64(dst[16:], c^wide)
		binary.LittleEndian.PutUint64(dst[24:], d^wide)
		src, dst = src[32:], dst[32:]
	}
	for len(src) >= 8 && len(dst) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^wide)
		src, dst = src[8:], dst[8:]
	}
	for i, c := range src {
		dst[i] = c ^ byte(mask)
		mask = bits.RotateLeft32(mask, -8)
	}
	return mask
}
