package identity

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestReadPhone(t *testing.T) {
	for _, row := range []struct{ text, country, want string }{
		// International, however it is written.
		{"+33612345678", "", "+33612345678"},
		{"+33-6-12-34-56-78", "US", "+33612345678"},
		{"0033.6.12.34.56.78", "", "+33612345678"},
		{"00 44 7400 123456", "US", "+447400123456"},
		{"+00 33 6 12 34 56 78", "", "+33612345678"},
		{"(+33) 6 12 34 56 78", "", "+33612345678"},
		{"+ 33 6 12 34 56 78", "", "+33612345678"},
		{"tel:+33-6-12-34-56-78", "", "+33612345678"},
		{"TEL: +33 6 12 34 56 78", "", "+33612345678"},
		{"+33\u202f6\u202f12\u202f34\u202f56\u202f78", "", "+33612345678"}, // narrow no-break spaces
		{"+33\u00a06\u00a012\u00a034\u00a056\u00a078", "", "+33612345678"},
		{"+33 6\u201112\u201134\u201156\u201178", "", "+33612345678"},
		{"+33 6 12\u221234\u221256\u221278", "", "+33612345678"}, // minus signs
		{"\u202a+33612345678\u202c", "", "+33612345678"},         // as macOS and WhatsApp copy it
		{"\ufeff+33612345678", "", "+33612345678"},
		{"+336\u200b12345678", "", "+33612345678"},
		{"＋３３６１２３４５６７８", "", "+33612345678"},
		{"+٣٣٦١٢٣٤٥٦٧٨", "", "+33612345678"},
		{"+३३६१२३४५६७८", "", "+33612345678"},
		{"+33612345678;", "", "+33612345678"},
		{"+33612345678 !?", "", "+33612345678"},
		{"'+33612345678", "", "+33612345678"}, // as spreadsheets keep it
		{"“+33 6 12 34 56 78”…", "", "+33612345678"},
		{"+49 30/123456", "", "+4930123456"},
		{"+1 (201) 555-0123", "", "+12015550123"},
		{"01133612345678", "US", "+33612345678"},
		{"0011 33 6 12 34 56 78", "AU", "+33612345678"},
		{"8 10 33 6 12 34 56 78", "RU", "+33612345678"},

		// The trunk prefix behind the code.
		{"+33 (0)6 12 34 56 78", "", "+33612345678"},
		{"+44 07400 123456", "", "+447400123456"},
		{"0044 (0) 7400 123456", "GB", "+447400123456"},
		{"+49 0171 2345678", "", "+491712345678"},
		{"+7 8 912 345 67 89", "", "+79123456789"},
		{"+36 06 20 123 4567", "", "+36201234567"},
		{"+1 1 212 555 2368", "", "+12125552368"},
		{"+34 (0) 612 34 56 78", "", "+34612345678"}, // Spain has none
		{"+39 02 3661 8300", "", "+390236618300"},    // where it is a part of the number
		{"+39 (0)2 3661 8300", "", "+390236618300"},
		{"+375 810 917 23 70", "", "+3758109172370"},
		{"+225 07 12 34 56 78", "", "+2250712345678"},

		// National ones.
		{"06 12 34 56 78", "FR", "+33612345678"},
		{"06/12.34-56\u00a078", "fr", "+33612345678"},
		{"6 12 34 56 78", "FR", "+33612345678"},
		{"(201) 555-0123", "US", "+12015550123"},
		{"1 201 555 0123", "US", "+12015550123"},
		{"020 7946 0018", "UK", "+442079460018"},
		{"2310 123456", "EL", "+302310123456"},
		{"02 3661 8300", "IT", "+390236618300"},
		{"13123456789", "CN", "+8613123456789"}, // Chicago's, with a plus
		{"3211234567", "CO", "+573211234567"},   // Belgium's, with a plus
		{"6565123456", "IN", "+916565123456"},
		{"1512 3456789", "DE", "+4915123456789"},

		// With the code of the country, and no plus.
		{"49 171 2345678", "DE", "+491712345678"},
		{"49 (0)171 2345678", "DE", "+491712345678"},
		{"62 213 456 789", "ID", "+62213456789"},
		{"46 70 123 45 67", "SE", "+46701234567"},
		{"383 43 201 234", "XK", "+38343201234"},
		{"33 6 12 34 56 78", "FR", "+33612345678"},
		{"91 98765 43210", "IN", "+919876543210"},
		{"9123456789", "IN", "+919123456789"}, // begins like the code

		// What the plans moved.
		{"+52 1 55 1234 5678", "", "+525512345678"},
		{"52 1 55 1234 5678", "MX", "+525512345678"},
		{"044 55 1234 5678", "MX", "+525512345678"},
		{"+54 11 15 2345 6789", "", "+5491123456789"},
		{"011 15-2345-6789", "AR", "+5491123456789"},

		// What no plan lists.
		{"+1 234 567 89", "FR", "+123456789"},
		{"+15555555555", "US", "+15555555555"},
		{"00 33 6 12 34 56 7", "FR", "+3361234567"},
		{"+999 12345678", "", "+99912345678"},
	} {
		got, err := ReadPhone(row.text, row.country)
		if assert.NoError(t, err, "%q %s", row.text, row.country) {
			assert.Equal(t, row.want, got, "%q %s", row.text, row.country)
		}
	}
}

func TestTextsThatAreNotOnePhone(t *testing.T) {
	for _, row := range []struct{ text, country, want string }{
		{"", "FR", "not a phone number"},
		{"+", "FR", "not a phone number"},
		{"00", "FR", "not a phone number"},
		{"( ) - .", "FR", "not a phone number"},
		{"+3361", "", "not a phone number"},
		{"+12345678901234567", "", "not a phone number"},
		{"+1 (555) 555-5555", "", "not a phone number"}, // not listed, and brackets may hold what is not dialled
		{"99", "FR", "not a number of FR"},
		{"3.3612345678e+10", "FR", "what no phone number holds"},
		{"-6.1e9", "FR", "what no phone number holds"},
		{"+33 6 SECRET", "FR", "what no phone number holds"},
		{"1-800-FLOWERS", "US", "what no phone number holds"},
		{"06 12 34 56 78 (bureau)", "FR", "what no phone number holds"},
		{"0612345678\n0712345678", "FR", "what no phone number holds"},
		{"0612345678\u20280712345678", "FR", "what no phone number holds"},
		{"tel:+1-212-555-2368;ext=5", "", "what no phone number holds"},
		{"06 12 34 56 78 \ufffd", "FR", "what no phone number holds"},
		{"06 1\ufe0f\u20e32 34 56 78", "FR", "what no phone number holds"},
		{"+376 712 345 / 712 346", "", "not one phone number"},
		{"+49 30 123456 / 123457", "DE", "not one phone number"},
		{"030/123456/123457", "DE", "not one phone number"},
		{"030 123456 / 57", "DE", "not one phone number"},
		{"+33612345678 +33712345678", "", "not one phone number"},
		{"0612345678 0712345678", "FR", "not a number of FR"},
		{"00+33 6 12 34 56 78", "", "not one phone number"},
		{"0612345678", "", "there is no default_country"},
		{"33612345678", "", "there is no default_country"},
		{"33 00 4 84 47 23 75", "FR", "not a number of FR"}, // a prefix in front of its prefix
		{"0612345678", "ZZ", "not a number of ZZ"},
		{"33612345678", "DE", "without its +"},
		{"33612345678", "LU", "without its +"},
		{"33612345678", "US", "not a number of US"},

		// The trunk prefix is never kept.
		{"+44 07700 900123", "", "not dialled from abroad"}, // kept for films: not a number without it either
		{"+52 1 55 1234", "", "not dialled from abroad"},
		{"+33 06", "", "not dialled from abroad"},
		{"+33 06 12 34 56 7", "", "not dialled from abroad"},
		{"+49 (0) 12", "", "not dialled from abroad"},
		{"+0612345678", "FR", "not dialled from abroad"},
		{"+7 8 12 34", "", "not dialled from abroad"},
		{"0033 0033 612345678", "FR", "not dialled from abroad"},
		{"+33 33 6 12 34 56 78", "", "country code twice"},
		{"+241 06 03 12 34", "GA", "more than one number"}, // of the old plan, and of the new one without its trunk prefix
		{"8109172370", "BY", "more than one number"},       // 810 is its international prefix
		{"390 1045678", "IT", "more than one number"},      // a mobile, or Genoa's: there is no trunk prefix to tell

		// 00 is not the international prefix everywhere.
		{"001 33 6 12 34", "KR", "not a phone number"},
		{"0015 12 34", "BR", "not a phone number"},
	} {
		got, err := ReadPhone(row.text, row.country)
		assert.Empty(t, got, "%q", row.text)
		assert.ErrorContains(t, err, row.want, "%q", row.text)
	}
}

func TestExtensionsAreCut(t *testing.T) {
	for text, want := range map[string]string{
		"212-555-2368 ext. 5":     "212-555-2368",
		"212-555-2368 x5":         "212-555-2368",
		"212-555-2368x123":        "212-555-2368",
		"01 23 45 67 89, poste 7": "01 23 45 67 89",
		"030 123456 Durchwahl 12": "030 123456",
		"+12125552368;ext=5":      "+12125552368",
		"212-555-2368 #42":        "212-555-2368",
		"212-555-2368 EXT\u00a05": "212-555-2368",
	} {
		got, found := CutExtension(text)
		assert.True(t, found, "%q", text)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{"", "212-555-2368", "ext", "text 5", "212-555-2368 ext. 5 or 6", "next5", "x"} {
		got, found := CutExtension(text)
		assert.False(t, found, "%q", text)
		assert.Equal(t, text, got)
	}
}
