//! A load balancer for one client, which can be cut off.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// The time and the node of each connection.
type Visits = Arc<Mutex<Vec<(SystemTime, u16)>>>;

/// Forwards each connection to a node at random, or to another one if that does not accept it. Ends with its handle.
pub(crate) struct Balancer {
    port: u16,
    cuts: watch::Sender<u64>,
    refuses: Arc<AtomicBool>,
    visits: Visits,
    _accepting: JoinSet<()>,
}

impl Balancer {
    pub(crate) async fn start(nodes: Vec<u16>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = watch::Sender::new(0);
        let refuses = Arc::new(AtomicBool::new(false));
        let mut accepting = JoinSet::new();
        let visits = Visits::default();
        let (cut, refusing, noted) = (cuts.subscribe(), Arc::clone(&refuses), Arc::clone(&visits));
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                while connections.try_join_next().is_some() {}
                if !refusing.load(Ordering::Relaxed) {
                    connections.spawn(forward(
                        client,
                        nodes.clone(),
                        cut.clone(),
                        Arc::clone(&noted),
                    ));
                }
            }
        });
        Self { port, cuts, refuses, visits, _accepting: accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The time and the node of each connection so far.
    pub(crate) fn visits(&self) -> Vec<(SystemTime, u16)> {
        self.visits.lock().unwrap().clone()
    }

    /// Ends all connections. The client may connect again.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends all connections, and accepts none any more.
    pub(crate) fn cut_off(&self) {
        self.refuses.store(true, Ordering::Relaxed);
        self.cut();
    }
}

async fn forward(
    mut client: TcpStream,
    mut nodes: Vec<u16>,
    mut cut: watch::Receiver<u64>,
    visits: Visits,
) {
    cut.mark_unchanged();
    fastrand::shuffle(&mut nodes);
    for node in nodes {
        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", node)).await {
            visits.lock().unwrap().push((SystemTime::now(), node));
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = cut.changed() => {}
            }
            return;
        }
    }
}
