//! Real servers, started by the tests themselves on free ports in temporary folders, and killed when dropped: so that a
//! test can stop, kill, pause and restart them. One that is not installed fails the test with what to install;
//! tests/run.sh installs them all.

pub mod certificate;
pub mod nats;
pub mod postgres;
pub mod process;
pub mod rabbitmq;
pub mod redis;
pub mod tls;

use process::until;

#[test]
fn a_server_can_be_killed_paused_and_started_again() {
    let (mut nats, mut redis) = (nats::start(""), redis::start(&[]));
    assert_eq!(nats.url(), format!("nats://{}", nats.address()));
    assert_eq!(redis.url(), format!("redis://{}", redis.address()));
    for server in [&mut nats.server, &mut redis.server] {
        let address = server.address();
        server.pause();
        server.resume();
        server.kill();
        assert!(until(|| std::net::TcpStream::connect(address).is_err()), "it is gone");
        server.restart();
        assert_eq!(server.address(), address);
    }
}
