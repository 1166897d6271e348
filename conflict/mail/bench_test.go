package mail_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// BenchmarkMeasure measures messages as they come from a server, of 4 kB, as most are, and of
// 100 kB.
func BenchmarkMeasure(b *testing.B) {
	header := &strings.Builder{}
	for i := range 8 {
		fmt.Fprintf(header, "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\r\n\tby mail.example.org (Postfix) with ESMTPS id 0123456789AB%d\r\n"+
			"\tfor <bob@example.org>; Tue, 2 Jan 2024 03:04:0%d +0000 (UTC)\r\n", i, i, i, i, i)
	}
	header.WriteString("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org;\r\n\tb=" + strings.Repeat("abcd0123", 40) + "\r\n" +
		"Message-ID: <0123456789@example.org>\r\nDate: Tue, 2 Jan 2024 03:04:05 +0000\r\nFrom: Ann <ann@example.org>\r\n" +
		"To: Bob <bob@example.org>\r\nSubject: a message\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	for _, size := range []int{4 << 10, 100 << 10} {
		message := []byte(header.String())
		for len(message) < size {
			message = append(message, "A line of seventy octets or so, as they are in most of the mail there is.\r\n"...)
		}
		b.Run(fmt.Sprint(size>>10, "kB"), func(b *testing.B) {
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				var m mail.Measure
				var file bytes.Buffer
				file.Grow(len(message))
				lines := &mail.ToFile{W: &file}
				lines.Write(message)
				lines.Flush()
				m.Write(file.Bytes())
				if m.IdentityInBase().MessageID == "" {
					b.Fatal("no Message-ID")
				}
			}
		})
	}
}
