#include "textflag.h"

// One class of the 64 bytes in Y6 and Y7, whose high nibbles' bits are in Y8 and
// Y9: look the low nibble up in the class's table, and see whether the bit of the
// high nibble is set there. A byte from 0x80 on looks up nothing.
#define CLASS(table, at) \
	VPSHUFB   Y6, table, Y10   \
	VPSHUFB   Y7, table, Y11   \
	VPAND     Y8, Y10, Y10     \
	VPAND     Y9, Y11, Y11     \
	VPCMPEQB  Y15, Y10, Y10    \
	VPCMPEQB  Y15, Y11, Y11    \
	VPMOVMSKB Y10, AX          \
	VPMOVMSKB Y11, BX          \
	SHLQ      $32, BX          \
	ORQ       AX, BX           \
	NOTQ      BX               \
	MOVQ      BX, at(DI)

// func classifyAVX2(dst *block, p *byte, blocks int, t *tables)
TEXT ·classifyAVX2(SB), NOSPLIT, $0-32
	MOVQ    dst+0(FP), DI
	MOVQ    p+8(FP), SI
	MOVQ    blocks+16(FP), CX
	MOVQ    t+24(FP), DX
	VMOVDQU (DX), Y0
	VMOVDQU 32(DX), Y1
	VMOVDQU 64(DX), Y2
	VMOVDQU 96(DX), Y3
	VMOVDQU 128(DX), Y4
	VMOVDQU 160(DX), Y5
	VMOVDQU 192(DX), Y12
	VMOVDQU 224(DX), Y13
	VMOVDQU 256(DX), Y14
	VPXOR   Y15, Y15, Y15

next:
	VMOVDQU (SI), Y6
	VMOVDQU 32(SI), Y7
	VPSRLW  $4, Y6, Y8
	VPSRLW  $4, Y7, Y9
	VPAND   288(DX), Y8, Y8
	VPAND   288(DX), Y9, Y9
	VPSHUFB Y8, Y0, Y8
	VPSHUFB Y9, Y0, Y9
	CLASS(Y1, 0)
	CLASS(Y2, 8)
	CLASS(Y3, 16)
	CLASS(Y4, 24)
	CLASS(Y5, 32)
	CLASS(Y12, 40)
	CLASS(Y13, 48)
	CLASS(Y14, 56)
	VPMOVMSKB Y6, AX
	VPMOVMSKB Y7, BX
	SHLQ      $32, BX
	ORQ       AX, BX
	MOVQ      BX, 64(DI)
	ADDQ    $64, SI
	ADDQ    $72, DI
	DECQ    CX
	JNZ     next
	VZEROUPPER
	RET
