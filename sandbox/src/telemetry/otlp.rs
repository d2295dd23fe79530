//! Lines of JSON to an OpenTelemetry collector, as log records over HTTP.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use http::{Request, Response};
use opentelemetry::{
    InstrumentationScope,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{LogExporter, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{
        BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter as Exporter, SdkLogger,
        SdkLoggerProvider,
    },
};
use serde_json::{Map, Value};

use super::Error;

/// For one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records that wait for a request. They are flushed before there are more, so that none is dropped on the way.
const WAITING: usize = 2048;

/// What takes log records.
#[derive(Debug)]
pub struct Collector {
    provider: SdkLoggerProvider,
    logger: SdkLogger,
    waiting: usize,
    lost: Arc<Mutex<Lost>>,
}

/// What did not arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many records.
    pub records: u64,
    /// Why, the last time.
    pub reason: String,
}

impl Collector {
    /// The collector at `endpoint`, the base URL of its OTLP receiver over HTTP, as in `http://127.0.0.1:4318`.
    ///
    /// # Errors
    /// If the endpoint is none that can be used. Whether somebody is there shows only when something is sent.
    pub fn at(endpoint: &str) -> Result<Self, Error> {
        if !endpoint.starts_with("http://") {
            return Err(Error::Endpoint {
                endpoint: endpoint.to_owned(),
                reason: "it does not begin with `http://`; TLS is not built in, so send to a collector on this host"
                    .to_owned(),
            });
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build();
        let exporter = LogExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/logs", endpoint.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .with_http_client(Client(agent.into()))
            .build()
            .map_err(|error| Error::Endpoint {
                endpoint: endpoint.to_owned(),
                reason: error.to_string(),
            })?;
        let lost = Arc::new(Mutex::new(Lost::default()));
        let counted = Counted {
            exporter,
            lost: Arc::clone(&lost),
        };
        let waiting = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING)
            .build();
        let processor = BatchLogProcessor::builder(counted)
            .with_batch_config(waiting)
            .build();
        let provider = SdkLoggerProvider::builder()
            .with_resource(Resource::builder().with_service_name("ringfence").build())
            .with_log_processor(processor)
            .build();
        let scope = InstrumentationScope::builder("ringfence")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Ok(Self {
            logger: provider.logger_with_scope(scope),
            provider,
            waiting: 0,
            lost,
        })
    }

    /// Sends one line: an object. Waits for the collector where many wait already.
    pub fn send(&mut self, line: &Map<String, Value>) {
        let mut record = self.logger.create_log_record();
        let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
        let severity = match text("verdict") {
            "deny" | "audit" => Severity::Warn,
            _ => Severity::Info,
        };
        record.set_severity_number(severity);
        record.set_severity_text(severity.name());
        record.set_body(summary(line).into());
        record.set_observed_timestamp(std::time::SystemTime::now());
        for (key, value) in line {
            record.add_attribute(format!("ringfence.{key}"), attribute(value));
        }
        self.logger.emit(record);
        self.waiting += 1;
        if self.waiting >= WAITING / 2 {
            self.flush();
        }
    }

    /// Sends what waits, and says what has not arrived since the last time.
    pub fn flush(&mut self) -> Option<Lost> {
        self.waiting = 0;
        // What fails is counted where it is sent.
        self.provider.force_flush().ok();
        self.lost()
    }

    /// What has not arrived since the last time.
    pub fn lost(&self) -> Option<Lost> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        (lost.records > 0).then(|| std::mem::take(&mut *lost))
    }
}

/// What a person reads first.
fn summary(line: &Map<String, Value>) -> String {
    let words = ["kind", "verdict", "operation", "path", "name"];
    let words = words.iter().filter_map(|key| line.get(*key)?.as_str());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// What has parts goes as JSON: attributes of records are flat for most who read them.
fn attribute(value: &Value) -> AnyValue {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.to_string().into(),
        },
        Value::String(text) => text.clone().into(),
        other => other.to_string().into(),
    }
}

/// Counts what does not arrive: the SDK tells its own log only.
#[derive(Debug)]
struct Counted {
    exporter: LogExporter,
    lost: Arc<Mutex<Lost>>,
}

impl Exporter for Counted {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let records = batch.iter().count() as u64;
        let done = self.exporter.export(batch).await;
        if let Err(error) = &done {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.records += records;
            lost.reason = error.to_string();
        }
        done
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// HTTP without TLS, in the thread that calls.
struct Client(ureq::Agent);

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(head, body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        Ok(Response::from_parts(head, body.read_to_vec()?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread,
    };

    fn line(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    /// The head and the body of one request.
    fn request(connection: &mut TcpStream) -> (String, Vec<u8>) {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            connection.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        let head = String::from_utf8(text).unwrap().to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        connection.read_exact(&mut body).unwrap();
        (head, body)
    }

    /// Heads and bodies of requests.
    type Requests = Vec<(String, Vec<u8>)>;

    /// A collector that answers each of `answers` once; gives what it was sent.
    fn collector(answers: Vec<&'static str>) -> (String, thread::JoinHandle<Requests>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let serve = |status: &str| {
                let (mut connection, _) = listener.accept().unwrap();
                let asked = request(&mut connection);
                let answer =
                    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                connection.write_all(answer.as_bytes()).unwrap();
                asked
            };
            answers.into_iter().map(serve).collect()
        });
        (endpoint, served)
    }

    #[test]
    fn a_line_arrives_as_a_record_with_its_fields() {
        use opentelemetry_proto::tonic::{
            collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value,
        };
        use prost::Message as _;
        let (endpoint, served) = collector(vec!["200 OK"]);
        let mut collector = Collector::at(&endpoint).unwrap();
        collector.send(&line(
            r#"{"fence":7,"kind":"event","verdict":"deny","operation":"open","path":"/etc/shadow","programs":[{"pid":1}]}"#,
        ));
        assert_eq!(collector.flush(), None);
        let asked = served.join().unwrap();
        let (head, body) = &asked[0];
        assert!(head.starts_with("post /v1/logs "), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf"),
            "{head}"
        );
        let request = ExportLogsServiceRequest::decode(body.as_slice()).unwrap();
        let resource = request.resource_logs[0].resource.as_ref().unwrap();
        assert!(format!("{resource:?}").contains("\"ringfence\""));
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(record.severity_text, "WARN");
        let spelled = |value: &any_value::Value| match value {
            any_value::Value::StringValue(text) => text.clone(),
            any_value::Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        let value = |key: &str| {
            let mut all = record.attributes.iter();
            let found = all.find(|one| one.key == key).unwrap();
            spelled(found.value.as_ref().unwrap().value.as_ref().unwrap())
        };
        assert_eq!(value("ringfence.fence"), "7");
        assert_eq!(value("ringfence.path"), "/etc/shadow");
        assert_eq!(value("ringfence.programs"), r#"[{"pid":1}]"#);
        let body = record.body.as_ref().unwrap().value.as_ref().unwrap();
        assert_eq!(spelled(body), "event deny open /etc/shadow");
    }

    #[test]
    fn what_does_not_arrive_is_counted() {
        let (endpoint, served) = collector(vec!["400 Bad Request"]);
        let mut collector = Collector::at(&endpoint).unwrap();
        collector.send(&line(r#"{"fence":7,"kind":"start"}"#));
        collector.send(&line(r#"{"fence":7,"kind":"end"}"#));
        assert_eq!(collector.flush().unwrap().records, 2);
        assert_eq!(collector.flush(), None);
        served.join().unwrap();
    }

    #[test]
    fn an_endpoint_that_needs_tls_is_refused() {
        let error = Collector::at("https://collector.test").unwrap_err();
        assert!(error.to_string().contains("TLS is not built in"), "{error}");
    }
}
