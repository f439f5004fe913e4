//! Proxies as they stand before gateways: nginx and `HAProxy`, with the settings that the README asks for.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::Programs;
use crate::process::{Process, free_address};

/// A kind of proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    /// nginx.
    Nginx,
    /// `HAProxy`.
    HaProxy,
}

impl Front {
    /// Its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
        }
    }

    /// Whether its program is there.
    pub(crate) fn installed(self, programs: &Programs) -> bool {
        self.program(programs).is_some()
    }

    fn program(self, programs: &Programs) -> Option<&PathBuf> {
        match self {
            Self::Nginx => programs.nginx.as_ref(),
            Self::HaProxy => programs.haproxy.as_ref(),
        }
    }

    pub(super) fn process(
        self,
        programs: &Programs,
        directory: &Path,
        gateways: &[SocketAddr],
        silent: SocketAddr,
    ) -> anyhow::Result<Process> {
        let program = self
            .program(programs)
            .context("a proxy that is not installed")?;
        let name = self.name();
        let address = free_address()?;
        let home = directory.join(name);
        std::fs::create_dir_all(&home)?;
        let settings = home.join("settings");
        let text = match self {
            Self::Nginx => nginx(address, gateways, silent, &home),
            Self::HaProxy => haproxy(address, gateways, silent),
        };
        std::fs::write(&settings, text)?;
        // One process, in the foreground: its end is the end of it.
        let process = Process::new(name, program, address, directory);
        let process = match self {
            Self::Nginx => process
                .arg(["-e", "stderr", "-c"])
                .arg([settings.display()]),
            Self::HaProxy => process.arg(["-db", "-f"]).arg([settings.display()]),
        };
        Ok(process.env("LD_LIBRARY_PATH", &programs.libraries))
    }
}

fn nginx(address: SocketAddr, gateways: &[SocketAddr], silent: SocketAddr, home: &Path) -> String {
    let (mut servers, mut places, home) = (String::new(), String::new(), home.display());
    for gateway in gateways {
        // Writing into a string can't fail.
        let _ = write!(servers, "server {gateway}; ");
    }
    for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(places, "    {what}_temp_path {home}/{what};");
    }
    format!(
        "daemon off;
master_process off;
pid {home}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
{places}
    map $http_upgrade $connection_wish {{ default upgrade; '' ''; }}
    upstream gateways {{ {servers}}}
    upstream silent {{ server {silent}; }}
    server {{
        listen {address};
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_wish;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_read_timeout 60s;
        proxy_send_timeout 60s;
        location / {{ proxy_pass http://gateways; }}
        location /silent {{ proxy_pass http://silent; }}
    }}
}}
"
    )
}

fn haproxy(address: SocketAddr, gateways: &[SocketAddr], silent: SocketAddr) -> String {
    let mut servers = String::new();
    for (number, gateway) in gateways.iter().enumerate() {
        let _ = writeln!(servers, "    server gateway-{number} {gateway}");
    }
    format!(
        "defaults
    mode http
    option forwardfor
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend all
    bind {address}
    use_backend silent if {{ path_beg /silent }}
    default_backend gateways
backend gateways
{servers}backend silent
    server silent {silent}
"
    )
}

/// Where the libraries are that were unpacked with the proxies, as the linker wants it.
pub(super) fn libraries(proxies: &Path) -> String {
    let places = std::fs::read_dir(proxies.join("usr/lib"));
    let places: Vec<String> = places
        .into_iter()
        .flatten()
        .filter_map(|place| Some(place.ok()?.path().display().to_string()))
        .collect();
    places.join(":")
}

/// Where a proxy's program may be besides the PATH, which often has no `sbin`.
pub(super) fn places(proxies: &Path, name: &str) -> Vec<PathBuf> {
    [
        Path::new("/usr/sbin"),
        Path::new("/usr/local/sbin"),
        &proxies.join("usr/sbin"),
    ]
    .into_iter()
    .map(|place| place.join(name))
    .collect()
}
