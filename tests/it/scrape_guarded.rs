//! Targets behind TLS, client certificates, passwords and tokens, served by a real nginx; and jobs
//! that a reload changes, takes away and brings back.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use fieldpost_bed::{Process, Scratch, free_port, peer, wait_for};
use fieldpost_model::{TimeMs, is_absent};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::push::Hub;

/// The name in the server's certificate.
const NAME: &str = "metrics.example";

/// Writes a CA and certificates for a server and a client of it, and a server's of nobody's.
fn write_certificates(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let (ca_key, mut ca) = (KeyPair::generate().unwrap(), CertificateParams::default());
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "the tests' own");
    write("ca.pem", &ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);
    for (file, name) in [("server", NAME), ("client", "hub")] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        write(&format!("{file}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{file}.key"), &key.serialize_pem());
    }
}

/// Pages that are given to those who prove themselves, each door in its own way.
struct Doors {
    password: u16,
    token: u16,
    certificate: u16,
    folder: Scratch,
    _nginx: Process,
}

impl Doors {
    fn open() -> Self {
        let folder = Scratch::new().unwrap();
        write_certificates(folder.path());
        folder.write("www/metrics", "guarded 1\n").unwrap();
        // The password is plain to nginx alone.
        folder.write("users", "hub:{PLAIN}s3cret\n").unwrap();
        folder.write("password", "s3cret\n").unwrap();
        folder.write("token", "t0ken\n").unwrap();
        let [password, token, certificate] = [(); 3].map(|()| free_port().unwrap());
        let tls = "ssl_certificate server.pem; ssl_certificate_key server.key;";
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;
            events {{ worker_connections 100; }}
            http {{
                access_log off; default_type text/plain; root www;
                client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
                uwsgi_temp_path temp; scgi_temp_path temp;
                server {{
                    listen 127.0.0.1:{password};
                    auth_basic people; auth_basic_user_file users;
                }}
                server {{
                    listen 127.0.0.1:{token} ssl; {tls}
                    if ($http_authorization != 'Bearer t0ken') {{ return 401; }}
                }}
                server {{
                    listen 127.0.0.1:{certificate} ssl; {tls}
                    ssl_client_certificate ca.pem; ssl_verify_client on;
                }}
            }}"
        );
        folder.write("nginx.conf", &config).unwrap();
        let prefix = format!("{}/", folder.path().display());
        let program = peer("nginx-light", "usr/sbin/nginx").unwrap();
        let arguments = ["-p", prefix.as_str(), "-c", "nginx.conf"];
        let mut nginx = Process::start("nginx", &program, &arguments, &[], folder.path()).unwrap();
        nginx.until("its port", || TcpStream::connect(("127.0.0.1", certificate)).ok()).unwrap();
        Self { password, token, certificate, folder, _nginx: nginx }
    }

    /// A job for one of the doors.
    fn job(&self, name: &str, port: u16, more: &str) -> String {
        let more = more.replace("DIR", &self.folder.path().display().to_string());
        format!(
            "- {{job_name: {name}, scrape_interval: 1s, scrape_timeout: 1s, \
             static_configs: [{{targets: ['127.0.0.1:{port}']}}], {more}}}\n"
        )
    }
}

/// Writes these jobs and reloads; answers what was said.
fn reload(hub: &Hub, jobs: &[String]) -> String {
    hub.write_config(&format!("scrape:\n{}", jobs.concat()));
    hub.client(&["hub", "--reload"])
}

/// The newest `up` of each job: 1, 0, or none once its series has ended.
fn ups(hub: &Hub) -> Vec<(String, Option<f64>)> {
    let all = hub.samples("up{job!=\"fieldpost\"}", 0, TimeMs::MAX);
    let newest = |(series, samples): (String, Vec<(TimeMs, f64)>)| {
        let job = series.split("\"job\", \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        (job, samples.last().map(|sample| sample.1).filter(|value| !is_absent(*value)))
    };
    all.into_iter().map(newest).collect()
}

fn until(hub: &Hub, expected: &[(&str, Option<f64>)]) {
    let mut expected: Vec<_> = expected.iter().map(|(job, up)| ((*job).to_owned(), *up)).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let mut seen = Vec::new();
    let are = || {
        seen = ups(hub);
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        (seen == expected).then_some(())
    };
    let all = wait_for("the targets", are);
    assert!(all.is_ok(), "{:?}; status: {}", ups(hub), hub.client(&["hub", "--status"]));
}

#[test]
fn guarded_targets_are_asked_as_jobs_say_and_a_reload_changes_the_jobs() {
    let doors = Doors::open();
    let tls = format!("scheme: https, tls_config: {{ca_file: DIR/ca.pem, server_name: {NAME}");
    let password =
        doors.job("password", doors.password, "basic_auth: {username: hub, password_file: DIR/password}");
    let token = |file: &str| {
        let more = format!("{tls}}}, authorization: {{credentials_file: DIR/{file}}}");
        doors.job("token", doors.token, &more)
    };
    let proof = "cert_file: DIR/client.pem, key_file: DIR/client.key";
    let certificate = doors.job("certificate", doors.certificate, &format!("{tls}, {proof}}}"));
    // Each of these lacks one thing: the name, the authority, the proof.
    let no_name = doors.job(
        "no-name",
        doors.token,
        "scheme: https, tls_config: {ca_file: DIR/ca.pem}, bearer_token_file: DIR/token",
    );
    let no_ca = doors.job(
        "no-ca",
        doors.token,
        &format!("scheme: https, tls_config: {{server_name: {NAME}}}, bearer_token_file: DIR/token"),
    );
    let no_proof = doors.job("no-proof", doors.certificate, &format!("{tls}}}"));
    let no_password = doors.job("no-password", doors.password, "metrics_path: /metrics");
    let trusting = doors.job(
        "trusting",
        doors.token,
        "scheme: https, tls_config: {insecure_skip_verify: true}, bearer_token_file: DIR/token",
    );

    let jobs =
        [password.clone(), token("token"), certificate, no_name, no_ca, no_proof, no_password, trusting];
    let hub = Hub::start(&format!("scrape:\n{}", jobs.concat()));
    let (good, bad) = (Some(1.0), Some(0.0));
    let others = [
        ("certificate", good),
        ("no-name", bad),
        ("no-ca", bad),
        ("no-proof", bad),
        ("no-password", bad),
        ("trusting", good),
    ];
    until(&hub, &[&[("password", good), ("token", good)], &others[..]].concat());

    // What is left out ends, what is wrong now is told, what stays goes on.
    let said = reload(&hub, &[password.clone(), token("password")]);
    assert!(said.contains("scrape"), "{said}");
    let ended = others.map(|(job, _)| (job, None));
    until(&hub, &[&[("password", good), ("token", bad)], &ended[..]].concat());
    // A file that is not there leaves the job as it was, and the status says so.
    let lost = doors.job("password", doors.password, "scheme: https, tls_config: {ca_file: DIR/no.pem}");
    reload(&hub, &[lost, token("token")]);
    until(&hub, &[&[("password", good), ("token", good)], &ended[..]].concat());
    let status = hub.client(&["hub", "--status"]);
    assert!(
        status.contains("password: it is not scraped so: cannot read") && status.contains("no.pem"),
        "{status}"
    );
    reload(&hub, &[password]);
    until(&hub, &[&[("password", good), ("token", None)], &ended[..]].concat());
    assert!(!hub.client(&["hub", "--status"]).contains("not scraped"));
    let page = SocketAddr::from(([127, 0, 0, 1], doors.password));
    let target = format!("guarded{{instance=\"{page}\",job=\"password\"}}");
    let samples = hub.samples(&target, 0, TimeMs::MAX);
    assert!(
        samples.values().all(|of_one| of_one.iter().all(|sample| sample.1 == 1.0)),
        "no gap: {samples:?}"
    );
}
