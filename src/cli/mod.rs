//! Arguments, logging, signals, exit codes.

#[cfg(target_os = "linux")]
mod bench;
mod cert;
mod connect;

use clap::{Args, Parser, Subcommand};
use env_logger::Builder;
use log::Record;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use statesync::{
    Config, Server,
    config::{ConfigErrors, LogFormat},
    http::{check_auth, check_rooms, check_tls},
};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};

/// The configuration, or an address in it, is wrong.
const EXIT_CONFIG: u8 = 2;

/// Keeps shared state in step for every browser tab, script and service that looks at it.
///
/// Without a command it serves the embedded defaults: a counter at http://127.0.0.1:6789/.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT; a second signal ends at once.
    Serve(ConfigArguments),
    /// Print the configuration that would be used, or everything that is wrong with it.
    CheckConfig(ConfigArguments),
    /// Make a self-signed certificate for development: cert.pem and key.pem.
    Cert(cert::CertArguments),
    /// Talk to a WebSocket server: what is typed is sent, what arrives is printed.
    #[command(after_long_help = connect::HELP)]
    Connect(Box<connect::ConnectArguments>),
    #[cfg(target_os = "linux")]
    /// Measure how fast a server is, as its clients see it.
    #[command(after_long_help = bench::HELP)]
    Bench(Box<bench::BenchArguments>),
}

#[derive(Args, Default)]
struct ConfigArguments {
    /// A TOML file. Without it, the embedded defaults, which config/default.toml documents. Every
    /// key can also be set by environment: STATESYNC__SERVER__BIND=127.0.0.1:8080.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command.unwrap_or(Command::Serve(Default::default())) {
        Command::Serve(arguments) => serve(&arguments),
        Command::CheckConfig(arguments) => check_config(&arguments),
        Command::Cert(arguments) => cert::cert(&arguments),
        Command::Connect(arguments) => connect::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Bench(arguments) => bench::run(&arguments),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("{}", failure.message);
        ExitCode::from(failure.code)
    })
}

/// What to say, and the exit code.
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn config(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: EXIT_CONFIG }
    }

    fn running(message: impl ToString) -> Self {
        Self { message: message.to_string(), code: 1 }
    }
}

fn load(arguments: &ConfigArguments) -> Result<Config, Failure> {
    // Variables that are no Unicode are not ours: std::env::vars would panic at them.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let (config, mut problems) = Config::read(arguments.config.as_deref(), environment);
    problems.extend(check_rooms(&config).err().unwrap_or_default());
    // One mistake there would raise others.
    if !problems.iter().any(|problem| problem.key.starts_with("auth.")) {
        problems.extend(check_auth(&config).err().unwrap_or_default());
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(Failure::config(ConfigErrors::sorted(problems)))
    }
}

fn check_config(arguments: &ConfigArguments) -> Result<ExitCode, Failure> {
    let config = load(arguments)?;
    check_tls(&config).map_err(Failure::config)?;
    print!("{}", config.to_toml());
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(arguments: &ConfigArguments) -> Result<ExitCode, Failure> {
    let config = load(arguments)?;
    start_logging(&config);
    let source = arguments.config.as_ref().map(|file| file.display().to_string());
    log::info!("configuration: {}", source.as_deref().unwrap_or("the embedded defaults"));
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    raise_open_files(config.limits.max_connections);
    actix_rt::System::new().block_on(async {
        let stop = stop_signal().map_err(Failure::running)?;
        let server = Server::bind(config).map_err(Failure::config)?;
        for address in server.addresses() {
            log::info!("listening on {address}");
        }
        for address in server.tls_addresses() {
            log::info!("listening on wss://{address}");
        }
        announce(&server);
        server.run(stop).await.map_err(Failure::running)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Raises the limit of open files as far as the process may, and warns if that is too little.
fn raise_open_files(max_connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!("the limit of open files stays as it is: {error}");
    }
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if open_files < max_connections as u64 {
        log::warn!(
            "the process may open {open_files} files, fewer than limits.max_connections \
             ({max_connections}): raise `ulimit -n` or lower the limit"
        );
    }
}

/// The one line on standard output: where to point the browser.
fn announce(server: &Server) {
    let Some(entrance) = server.entrance() else { return };
    // Nobody may be there to read it; that is no reason not to serve.
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "statesync is ready: {entrance}");
    let _ = stdout.flush();
}

/// Done at the first SIGTERM or SIGINT. The second ends the process at once.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, done) = tokio::sync::oneshot::channel();
    actix_rt::spawn(async move {
        let mut first = Some(first);
        loop {
            let (name, number) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", 15),
                _ = interrupt.recv() => ("SIGINT", 2),
            };
            match first.take() {
                Some(first) => {
                    log::info!("{name}: stopping; a second signal ends at once");
                    let _ = first.send(());
                }
                // As a shell reports a process that a signal ended.
                None => std::process::exit(128 + number),
            }
        }
    });
    Ok(async {
        let _ = done.await;
    })
}

/// Below us, only what the operator must know: actix-http logs a line for each malformed request,
/// actix-server tells its own start.
const BELOW_US: &str = "actix_http=off,actix_server=warn";

/// Logs go to standard error. `RUST_LOG` wins over the configuration, unless it is empty.
fn start_logging(config: &Config) {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = from_environment.unwrap_or(format!("{BELOW_US},{}", config.log.level));
    let mut builder = Builder::new();
    builder.parse_filters(&filter);
    match config.log.format {
        LogFormat::Json => builder.format(write_json),
        LogFormat::Text if io::stderr().is_terminal() => &mut builder,
        LogFormat::Text => builder.format_timestamp_millis(),
    };
    builder.init();
}

fn write_json(out: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
    let line = json!({
        "time": out.timestamp_micros().to_string(),
        "level": record.level().as_str().to_ascii_lowercase(),
        "target": record.target(),
        "message": record.args().to_string(),
    });
    writeln!(out, "{line}")
}
