package processor

import (
	"slices"
	"strings"
)

// emailNames and phoneNames are the snake_case names of the fields that are read as an
// email or a phone, in the languages that Wisepops is sold in; the best first.
var (
	emailNames = words(`
		email e_mail email_address e_mail_address mail mail_address
		adresse_email adresse_e_mail adresse_mail courriel adresse_courriel adresse_de_courriel adresse_electronique adresse_de_messagerie mel
		emailadresse e_mailadresse e_mail_adresse email_adresse mailadresse mail_adresse
		correo correo_electronico direccion_de_correo direccion_de_correo_electronico direccion_de_email direccion_de_e_mail direccion_email
		posta_elettronica indirizzo_email indirizzo_e_mail indirizzo_mail indirizzo_di_posta_elettronica
		correio_eletronico correio_electronico endereco_de_email endereco_de_e_mail endereco_email endereco_eletronico
		emailadres e_mailadres e_mail_adres email_adres mailadres
		adres_email adres_e_mail adres_mailowy adres_poczty_elektronicznej poczta_elektroniczna
		e_post epost e_postadress epostadress e_post_adress e_postadresse epostadresse e_post_adresse mejl mejladress mailadress
		sahkoposti sahkopostiosoite netfang tolvupostur`)

	phoneNames = words(`
		phone phone_number telephone telephone_number tel mobile mobile_phone mobile_number mobile_phone_number phone_mobile
		cell cellphone cell_phone cell_number cellphone_number cell_phone_number whats_app whatsapp whats_app_number whatsapp_number number_whats_app sms
		numero_de_telephone numero_telephone numero_de_tel num_de_telephone num_tel n_de_telephone no_de_telephone n_telephone
		portable telephone_portable tel_portable numero_de_portable numero_de_telephone_portable telephone_mobile numero_de_mobile numero_mobile numero_whats_app numero_de_whats_app
		telefon telefonnummer telefon_nummer telefonnr telefon_nr tel_nr rufnummer telefon_handy tel_handy
		handy handynummer handy_nummer handynr handy_nr mobil mobilnummer mobil_nummer mobilnr mobiltelefon mobiltelefonnummer mobilfunknummer mobilrufnummer whats_app_nummer
		telefono numero_de_telefono numero_telefono movil telefono_movil numero_de_movil numero_de_telefono_movil celular telefono_celular numero_de_celular numero_celular
		numero_di_telefono cellulare telefono_cellulare numero_di_cellulare numero_cellulare numero_di_telefono_cellulare recapito_telefonico
		telefone numero_de_telefone telemovel numero_de_telemovel telefone_celular telefone_movel numero_de_telefone_celular
		telefoon telefoonnummer mobiel mobiele_nummer mobiele_telefoon mobiele_telefoonnummer mobiel_nummer gsm gsm_nummer
		numer_telefonu nr_telefonu nr_tel numer_tel telefon_komorkowy numer_telefonu_komorkowego komorka numer_komorkowy numer_komorki telefon_kontaktowy
		tlf tlf_nr tlf_nummer mobil_nr
		puhelin puhelinnumero matkapuhelin matkapuhelinnumero kannykka simi simanumer farsimi`)

	// remarks are words beside a label that do not change what it asks for.
	remarks = wordSet(`
		your my our the a an please enter type fill in required optional mandatory here best main primary work business professional personal
		votre vos ton ta mon ma la le l obligatoire facultatif facultative optionnel optionnelle requis requise entrez entrer saisissez saisir indiquez renseignez ici pro professionnel professionnelle
		ihr ihre deine dein meine mein die bitte eingeben angeben ein pflichtfeld pflicht erforderlich freiwillig hier
		tu su mi el obligatorio obligatoria opcional requerido requerida introduce introduzca escribe escriba ingresa ingrese aqui por favor
		il tua tuo sua suo vostra mia mio obbligatorio obbligatoria facoltativo facoltativa opzionale inserisci inserire qui
		seu teu meu o obrigatorio obrigatoria insira digite informe
		uw je jouw mijn het verplicht optioneel vul hier
		twoj twoja moj moja swoj podaj wpisz wymagane wymagany opcjonalne opcjonalny opcjonalnie
		din ditt dit min mitt ange skriv indtast angiv oppgi inn obligatorisk valfritt valfri valgfri valgfritt kravs pakraevet paakraevet pakrevd
		sinun anna pakollinen vapaaehtoinen`)
)

func words(text string) []string { return strings.Fields(text) }

func wordSet(text string) map[string]bool {
	set := map[string]bool{}
	for _, word := range words(text) {
		set[word] = true
	}
	return set
}

// labels ranks the names of fields that are read as one column.
type labels struct {
	column string
	rank   map[string]int // from snake_case names
}

var (
	emailLabels = newLabels(colEmail, nil, emailNames)
	phoneLabels = newLabels(colPhone, nil, phoneNames)
)

// notALabel is the rank of names that are read as nothing.
const notALabel = 1 << 20

// newLabels ranks the names of a user's own fields before the known ones.
func newLabels(column string, own, known []string) labels {
	l := labels{column: column, rank: make(map[string]int, len(own)+len(known))}
	add := func(name string) {
		if _, ok := l.rank[name]; !ok {
			l.rank[name] = 2 * len(l.rank)
		}
	}
	for _, key := range own {
		add(snakeCase(key))
	}
	for _, name := range known {
		add(name)
	}
	return l
}

// of returns the rank of a field, less being better, or notALabel. The key that is the
// column's own name comes before the same in other case or punctuation, and a label
// without remarks before one with some.
func (l labels) of(key, name string) int {
	if rank, ok := l.rank[name]; ok {
		if key == l.column {
			rank--
		}
		return rank
	}
	if !strings.Contains(name, "_") {
		return notALabel
	}
	bare := strings.Join(slices.DeleteFunc(strings.Split(name, "_"), func(word string) bool { return remarks[word] }), "_")
	if rank, ok := l.rank[bare]; ok {
		return rank + notALabel/2
	}
	return notALabel
}

func (l labels) include(key, name string) bool { return l.of(key, name) < notALabel }
