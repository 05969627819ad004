package iprev

import (
	"net/netip"
	"strings"
	"testing"
)

func TestDynamic(t *testing.T) {
	for _, c := range []struct {
		addr, name string
		want       bool
	}{
		// Large senders, and mail servers with numbers.
		{"209.85.218.42", "mail-ej1-f42.google.com", false},
		{"2a00:1450:4864:20::636", "mail-ej1-x636.google.com", false},
		{"40.107.10.77", "mail-eopbgr10077.outbound.protection.outlook.com", false},
		{"40.92.10.77", "mail-dm6nam12olkn2077.outbound.protection.outlook.com", false},
		{"54.240.10.99", "a10-99.smtp-out.amazonses.com", false},
		{"69.169.232.11", "b232-11.smtp-out.eu-central-1.amazonses.com", false},
		{"167.89.123.45", "o1678912345.outbound-mail.sendgrid.net", false},
		{"149.72.126.143", "wrqvxxsf.outbound-mail.sendgrid.net", false},
		{"156.70.13.67", "mta-70-13-67.sparkpostmail.com", false},
		{"147.253.210.5", "mta-147-253-210-5.sparkpostmail.com", false},
		{"198.2.132.21", "mail132-21.atl131.mandrillapp.com", false},
		{"205.201.128.10", "mail128-10.atl41.rsgsv.net", false},
		{"69.72.42.13", "m42-13.mailgun.net", false},
		{"66.220.144.146", "66-220-144-146.mail-mail.facebook.com", false},
		{"77.238.176.20", "sonic316-20.consmr.mail.ir2.yahoo.com", false},
		{"212.227.126.131", "mout.kundenserver.de", false},
		{"212.227.126.187", "mout.web.de", false},
		{"185.132.181.8", "mx07-00178001.pphosted.com", false},
		{"17.58.6.40", "pv50p00im-ztdg10011201.me.com", false},
		{"46.105.56.76", "9.mo76.mail-out.ovh.net", false},
		{"87.253.233.170", "o170.p33.mailjet.com", false},
		{"193.109.254.1", "mail1.bemta12.messagelabs.com", false},
		{"13.111.5.76", "mta76.e.example.com", false},
		{"192.0.2.1", "mail-192-0-2-1.example.com", false},
		{"192.0.2.1", "static-192-0-2-1.isp.example", false},
		{"88.198.1.2", "static.88-198-1-2.clients.your-server.de", false},
		{"192.0.2.1", "mx.dsl.example.com", false},
		{"192.0.2.1", "relay3.pool.example.com", false},
		{"192.0.2.1", "example.com", false},
		{"192.0.2.1", "dyn.com", false},
		{"192.0.2.1", "dsl.net", false},
		{"192.0.2.1", "cable.co.uk", false},
		{"192.0.2.1", "broadband.com.mx", false},
		{"192.0.2.1", "www.goldsland.example", false},
		{"192.0.2.1", "host.spooling.example.com", false},
		{"192.0.2.1", "srv2-1.example.com", false},
		{"192.0.2.1", "2.0.192.example.com", false}, // three octets may be chance
		{"10.1.1.1", "web1011.example.com", false},  // joined, but too short
		{"192.0.2.1", "host-192-0-2-10.example.com", false},
		{"192.0.2.1", "localhost", false},
		{"192.0.2.1", "", false},
		{"2001:db8::25", "host25.example.com", false},
		{"2001:db8::25", "rack-0-0-0-25.example.com", false},

		// Lines.
		{"96.241.12.34", "pool-96-241-12-34.washdc.fios.verizon.net", true},
		{"73.12.34.56", "c-73-12-34-56.hsd1.ma.comcast.net", true},
		{"91.10.28.45", "p5B0A1C2D.dip0.t-ipconnect.de", true},
		{"91.10.28.45", "p5b0a1c2d.example.de", true},
		{"92.12.34.56", "host-92-12-34-56.as13285.net", true},
		{"187.1.2.3", "dsl-187-1-2-3-dyn.prod-infinitum.com.mx", true},
		{"45.12.34.56", "ip-045-012-034-056.um45.pools.vodafone-ip.de", true},
		{"83.194.123.45", "lfbn-ncy-1-123-45.w83-194.abo.wanadoo.fr", true},
		{"85.246.34.56", "bl12-34-56.dsl.telepac.pt", true},
		{"123.45.67.89", "89.67.45.123.broad.gz.gd.163data.com.cn", true},
		{"82.67.123.45", "host45-123-dynamic.67-82-r.retail.telecomitalia.it", true},
		{"1.2.3.4", "1-2-3-4.dynamic-ip.hinet.net", true},
		{"84.236.27.93", "h084236027093.example.se", true},
		{"84.236.27.93", "842362793.example.se", true},
		{"84.236.27.93", "cust-932723684.example.se", true},
		{"192.0.2.1", "192-0-2-1.example.co.uk", true},
		{"192.0.2.1", "010200c0.example.net", true},
		{"192.0.2.1", "0102.00c0.example.net", false},
		{"54.12.34.56", "ec2-54-12-34-56.compute-1.amazonaws.com", true},
		{"192.0.2.1", "ADSL.Example.COM.", false}, // no line without a number
		{"192.0.2.1", "adsl3.customers.Example.COM.", true},
		{"2003:cb:3f12:3400:a1b2:c3d4:e5f6:1234", "p200300cb3f123400a1b2c3d4e5f61234.dip0.t-ipconnect.de", true},
		{"2a02:8108:1:2::3", "2a02-8108-1-2--3.example.de", true},
		{"2a02:8108:1:2:3:4:5:6", "dynamic-2a02-8108-0001-0002-0003-0004-0005-0006.310.pool.telefonica.de", true},
		{"2a02:8108:1:2:3:4:5:6", "h-3-4-5-6.example.de", true},
		{"2001:db8:1234:5678::1", "8.7.6.5.4.3.2.1.8.b.d.0.1.0.0.2.example.net", true},
	} {
		if got := Dynamic(c.name, netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s, %s: got %v", c.name, c.addr, got)
		}
	}
	if Dynamic("1-2-3-4.example.net", netip.Addr{}) {
		t.Error("no address is carried by no name")
	}
}

func FuzzDynamic(f *testing.F) {
	f.Add("pool-192-0-2-1.example.net", []byte{192, 0, 2, 1})
	f.Add("..", []byte{})
	f.Add("mail.1.2.3.4.isp.example", make([]byte, 16))
	f.Fuzz(func(t *testing.T, name string, ip []byte) {
		addr, _ := netip.AddrFromSlice(ip)
		got := Dynamic(name, addr)
		if got && sends(strings.ToLower(name)) {
			t.Errorf("%q: a mail server's name", name)
		}
		if plain := strings.TrimSuffix(name, "."); got && strings.Count(plain, ".") < 2 {
			t.Errorf("%q: dynamic without a label before the organization", name)
		}
		HeloKind(name, "mx.example.net")
	})
}
