package sandbox

import "slices"

// kind is what visitors type into a field.
type kind int

const (
	kindEmail kind = iota
	kindPhone
	kindFirstName
	kindLastName
	kindCity
	kindChoice
	kindConsent
	kindInteger
	kindDecimal
	kindCard
	kindText
	kindNested
)

// field is one field of a block, under the key that the marketer gave it.
type field struct {
	key     string
	kind    kind
	choices []string
}

// popup is one pop-up of the shop. A submission of it holds its first block, and
// the further ones as far as the visitor went.
type popup struct {
	id        int64
	label     string
	countries []string // where its visitors come from; any where empty
	blocks    [][]field
}

// event is that of the hooks that a block goes to: sign-ups come first.
func (p *popup) event(block int) string {
	switch {
	case block == 0 && p.asksFor(0, kindEmail):
		return EventEmail
	case p.asksFor(block, kindPhone):
		return EventPhone
	}
	return EventSurvey
}

func (p *popup) asksFor(block int, k kind) bool {
	return slices.ContainsFunc(p.blocks[block], func(f field) bool { return f.kind == k })
}

// country is where a visitor comes from. In phone numbers # is any digit; they
// vary around the example number of the country's numbering plan.
type country struct {
	code          string
	international string
	national      string
	firstNames    []string
	lastNames     []string
	cities        []string
}

// Every block of these has an email address, so that each contact can be told from all
// others.
var popups = []popup{
	{id: 12345, label: "Live Wisepop", blocks: [][]field{
		{{key: "email"}, {key: "Gender", kind: kindChoice, choices: []string{"male", "female", "other"}}, {key: "City", kind: kindCity}},
	}},
	{id: 20417, label: "Bienvenue : -10 %", countries: []string{"FR", "BE", "CH"}, blocks: [][]field{
		{{key: "email"}, {key: "Prénom", kind: kindFirstName}, {key: "Ville", kind: kindCity}, {key: "Newsletter?", kind: kindConsent}},
		{{key: "email"}, {key: "Téléphone", kind: kindPhone}},
		{{key: "email"}, {key: "Comment nous avez-vous connus ?", kind: kindChoice, choices: []string{"Réseaux sociaux", "Bouche-à-oreille", "Télévision", "Café/Salon"}}},
	}},
	{id: 20418, label: "Größenberater", countries: []string{"DE", "CH"}, blocks: [][]field{
		{{key: "E-Mail"}, {key: "Vorname", kind: kindFirstName}, {key: "Nachname", kind: kindLastName}, {key: "Größe", kind: kindInteger}},
		{{key: "E-Mail"}, {key: "phone", kind: kindPhone}, {key: "Straße & Nr.", kind: kindText}},
	}},
	{id: 31007, label: "Exit intent \"Don't go!\"", countries: []string{"US", "CA", "GB", "AU"}, blocks: [][]field{
		{{key: "E-mail address"}, {key: "First name", kind: kindFirstName}, {key: "Age", kind: kindInteger}, {key: "consent", kind: kindConsent}},
		{{key: "E-mail address"}, {key: "phone", kind: kindPhone}},
	}},
	{id: 31550, label: "¡Rebajas!", countries: []string{"ES"}, blocks: [][]field{
		{{key: "Email"}, {key: "Nombre", kind: kindFirstName}, {key: "¿Cuánto gastas al mes?", kind: kindDecimal}},
	}},
	{id: 40021, label: "Back in stock (SMS)", blocks: [][]field{
		{{key: "Email"}, {key: "Mobile / WhatsApp", kind: kindPhone}, {key: "customer_no", kind: kindCard}},
	}},
	{id: 40022, label: "Survey & wish list", blocks: [][]field{
		{{key: "email"}, {key: "first_name", kind: kindFirstName}, {key: "address", kind: kindNested}},
		{{key: "email"}, {key: "What would you like to see?", kind: kindText}, {key: "rating", kind: kindInteger}},
	}},
	{id: 47110, label: "メルマガ登録", countries: []string{"JP"}, blocks: [][]field{
		{{key: "email"}, {key: "お名前", kind: kindFirstName}, {key: "電話番号", kind: kindPhone}},
	}},
}

// surveys ask for nothing but a choice: two visitors may well give the same answer.
var surveys = []popup{
	{id: 52001, label: "How did you find us?", blocks: [][]field{
		{{key: "How did you find us?", kind: kindChoice, choices: []string{"Friends", "Social media", "Search", "Café/Salon"}}},
	}},
	{id: 52002, label: "Würden Sie uns empfehlen?", blocks: [][]field{
		{{key: "Würden Sie uns empfehlen?", kind: kindChoice, choices: []string{"Ja", "Nein"}}},
	}},
}

var countries = []country{
	{
		code: "US", international: "+1 201-555-01##", national: "(201) 555-01##",
		firstNames: []string{"Olivia", "Liam", "Mia", "Noah"},
		lastNames:  []string{"Smith", "O'Brien", "Garcia", "Lee"},
		cities:     []string{"New York", "Austin", "Portland"},
	},
	{
		code: "CA", international: "+1 506-234-56##", national: "(506) 234-56##",
		firstNames: []string{"Chloé", "William", "Zoë"},
		lastNames:  []string{"Tremblay", "Bélanger", "Martin"},
		cities:     []string{"Montréal", "Québec", "Toronto"},
	},
	{
		code: "GB", international: "+44 7400 1#####", national: "07400 1#####",
		firstNames: []string{"Amelia", "Oliver", "Siân"},
		lastNames:  []string{"Jones", "Taylor", "Smith-Hughes"},
		cities:     []string{"London", "Leeds", "Stoke-on-Trent"},
	},
	{
		code: "AU", international: "+61 412 345 6##", national: "0412 345 6##",
		firstNames: []string{"Charlotte", "Jack", "Isla"},
		lastNames:  []string{"Nguyen", "Wilson", "Brown"},
		cities:     []string{"Melbourne", "Perth", "Sydney"},
	},
	{
		code: "FR", international: "+33 6 12 34 ## ##", national: "06 12 34 ## ##",
		firstNames: []string{"Zoé", "François", "Jules", "Anaïs"},
		lastNames:  []string{"Lefèvre", "Dupont", "Noël", "d'Aubigné"},
		cities:     []string{"Paris", "Saint-Étienne", "Nîmes"},
	},
	{
		code: "BE", international: "+32 470 12 3# ##", national: "0470 12 3# ##",
		firstNames: []string{"Eloïse", "Lars", "Noor"},
		lastNames:  []string{"Peeters", "Janssens", "Lambert"},
		cities:     []string{"Liège", "Gent", "Bruxelles"},
	},
	{
		code: "CH", international: "+41 78 123 4# ##", national: "078 123 4# ##",
		firstNames: []string{"Léa", "Luca", "Jürg"},
		lastNames:  []string{"Müller", "Favre", "Rüegg"},
		cities:     []string{"Zürich", "Genève", "Neuchâtel"},
	},
	{
		code: "DE", international: "+49 1512 3456###", national: "01512 3456###",
		firstNames: []string{"Jörg", "Anna", "Käthe", "Emil"},
		lastNames:  []string{"Müller", "Groß", "Schäfer"},
		cities:     []string{"Köln", "München", "Gießen", "Berlin"},
	},
	{
		code: "ES", international: "+34 612 34 5# ##", national: "612 34 5# ##",
		firstNames: []string{"Iñaki", "Lucía", "Hugo"},
		lastNames:  []string{"Núñez", "García", "Peña"},
		cities:     []string{"Málaga", "León", "A Coruña"},
	},
	{
		code: "IT", international: "+39 312 345 6###", national: "312 345 6###",
		firstNames: []string{"Niccolò", "Giulia", "Luca"},
		lastNames:  []string{"Rossi", "D'Angelo", "Carrà"},
		cities:     []string{"Milano", "Forlì", "Roma"},
	},
	{
		code: "PL", international: "+48 512 345 ###", national: "512 345 ###",
		firstNames: []string{"Łukasz", "Zofia", "Małgorzata"},
		lastNames:  []string{"Wójcik", "Nowak", "Żak"},
		cities:     []string{"Łódź", "Kraków", "Gdańsk"},
	},
	{
		code: "JP", international: "+81 90-1234-56##", national: "090-1234-56##",
		firstNames: []string{"陽菜", "蓮", "さくら"},
		lastNames:  []string{"佐藤", "鈴木", "高橋"},
		cities:     []string{"東京", "大阪", "札幌"},
	},
}

var remarks = []string{
	"10% off, please :)",
	"Plus de couleurs d'été ❤",
	"He said \"no\" twice",
	"Rue de la Paix 5\nBât. C",
	"C:\\temp & <b>bold</b>",
	"Grüße aus Köln 👋🏽",
	"a/b",
	"  ",
}

// mailboxes are the names in email addresses, and mailDomains what RFC 2606
// reserves.
var (
	mailboxes   = []string{"anna", "ben", "chloe", "david", "emma", "felix", "greta", "hugo", "ines", "jonas", "kim", "lea"}
	mailDomains = []string{"example.com", "example.com", "example.org", "example.net", "mail.example.com", "shop.example.org"}
)
