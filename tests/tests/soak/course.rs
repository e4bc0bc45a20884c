//! What happens in a run, in an order that the seed decides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::books::Books;
use crate::clock::Clock;
use crate::collector::{Collector, PATIENCE};
use crate::emitter::{Emitter, Way};
use crate::flips;
use crate::places::Places;
use crate::volume::Volume;

/// Numbers that one life of the emitter may use.
pub(crate) const LIFE: u32 = 1_000_000;
/// Of them it uses so many at the most.
const EVENTS: u32 = 500;
const AGENT: &str = "node-2";
/// Where the clock is set to, seconds beside the right time.
const STEPS: [i64; 6] = [-18_000, -90, 0, 90, 7_300, 259_200];

pub(crate) struct Course {
    kills: u32,
    flips: bool,
    dice: fastrand::Rng,
    folder: tempfile::TempDir,
    volume: Volume,
    clock: Clock,
    places: Places,
    collector: Collector,
    way: Way,
    emitter: Option<Emitter>,
    agent: Agent,
    /// By the emitter's life: how many of its records were said to be durable.
    durable: BTreeMap<u32, u32>,
    life: u32,
    /// Files in which a bit was turned over.
    flipped: Vec<PathBuf>,
    has_steps: bool,
    log: Vec<String>,
}

impl Course {
    pub(crate) fn new(seed: u64, kills: u32, flips: bool, has_volume: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let clock = Clock::new(path.join("clock"));
        let volume = Volume::new(path.join("volume"), has_volume);
        let places = Places::open(path);
        let mut collector = Collector::new(&path.join("collector"));
        collector.state = volume.path().join("state");
        collector.sinks = places.sinks();
        collector.environment = clock.environment();
        let token = path.join("token-2");
        std::fs::write(&token, "secret-2\n").unwrap();
        collector.more_nodes = vec![(AGENT, token.clone())];
        collector.start();
        let way = Way {
            endpoint: format!("http://127.0.0.1:{}", collector.otlp),
            token: collector.token(),
            ca: None,
            server_name: None,
            environment: clock.environment(),
        };
        let environment = clock.environment();
        let agent = Agent::new(
            &path.join("agent"),
            AGENT,
            collector.otlp,
            &token,
            environment,
        );
        for (is_there, what) in [
            (has_volume, "the disk is not filled"),
            (clock.can_be_set(), "clocks are not set"),
            (places.has_syslog(), "syslog has no receiver"),
        ] {
            if !is_there {
                say(&format!("  {what}: this machine cannot"));
            }
        }
        Self {
            kills,
            flips,
            dice: fastrand::Rng::with_seed(seed),
            folder,
            volume,
            clock,
            places,
            collector,
            way,
            emitter: None,
            agent,
            durable: BTreeMap::new(),
            life: 0,
            flipped: Vec::new(),
            has_steps: false,
            log: Vec::new(),
        }
    }

    pub(crate) fn run(mut self) {
        for kill in 1..=self.kills {
            if self.emitter.is_none() {
                self.emit();
            }
            for _ in 0..self.dice.u32(1..4) {
                std::thread::sleep(Duration::from_millis(self.dice.u64(..150)));
                self.trouble();
            }
            self.kill_one();
            if kill % 50 == 0 && kill < self.kills {
                say(&format!("  {kill} of {} kills", self.kills));
            }
        }
        self.end();
    }

    fn emit(&mut self) {
        let first = self.life * LIFE + 1;
        let spool = self.folder.path().join("spool");
        self.emitter = Some(Emitter::start(&spool, &self.way, first, EVENTS));
    }

    fn trouble(&mut self) {
        match self.dice.u32(..10) {
            0..=5 => self.places.trouble(&mut self.dice),
            6 => {
                self.note("the disk is full");
                self.volume.fill();
            }
            7 | 8 => {
                self.note("the disk has room");
                self.volume.empty();
            }
            _ => {
                let step = STEPS[self.dice.usize(..STEPS.len())];
                self.note(&format!("the clock is {step} s off"));
                self.clock.set(step);
                self.has_steps |= self.clock.can_be_set();
            }
        }
    }

    fn kill_one(&mut self) {
        match self.dice.u32(..10) {
            0..=3 => {
                self.note("the collector is killed");
                self.collector.kill();
                let journals = self.collector.state.join("journal");
                self.flip(&journals);
                self.collector.start();
            }
            4..=6 => {
                self.note("the emitter is killed");
                self.kill_emitter();
                self.flip(&self.folder.path().join("spool"));
            }
            7 | 8 => {
                self.note("the agent is killed");
                self.agent.kill();
                self.flip(&self.folder.path().join("agent/spool"));
                self.agent.kill_and_start();
            }
            _ => {
                self.note("the receiver of syslog is killed");
                self.places.kill_syslog();
            }
        }
    }

    fn kill_emitter(&mut self) {
        if let Some(emitter) = self.emitter.take() {
            let said = emitter.kill() - self.life * LIFE;
            self.durable.insert(self.life, said);
            self.life += 1;
        }
    }

    /// Of what nobody has open.
    fn flip(&mut self, folder: &Path) {
        if self.flips && self.dice.bool() {
            let flipped = flips::flip(folder, &mut self.dice);
            if let Some(path) = flipped {
                self.note(&format!("a bit of {} turned over", path.display()));
                self.flipped.push(path);
            }
        }
    }

    fn end(mut self) {
        self.note("everything works from now on");
        self.volume.empty();
        self.clock.set(0);
        self.places.heal();
        self.kill_emitter();
        let spool = self.folder.path().join("spool");
        let mut rest = Emitter::start(&spool, &self.way, 1, 0);
        self.wait("the spool is emptied", || rest.ended().is_some());
        assert!(rest.ended().unwrap().success(), "{}", rest.log());
        self.agent.terminate();
        self.wait("everything is delivered", || self.collector.is_idle());
        let accounting = self.collector.get("/api/v1/accounting").unwrap();
        assert!(self.collector.terminate().success());
        let books = Books {
            accounting,
            durable: &self.durable,
            flipped: &self.flipped,
            lines: self.collector.written(),
            places: self.places.events(),
            has_steps: self.has_steps,
        };
        say(&format!("  {}", books.sum()));
        let story = self.story();
        let wrong = books.judge(self.folder.path());
        assert!(wrong.is_empty(), "{}\n{story}", wrong.join("\n"));
    }

    fn wait(&self, what: &str, mut reached: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !reached() {
            let is_late = begin.elapsed() > PATIENCE;
            let books = || self.collector.text("/api/v1/accounting");
            assert!(
                !is_late,
                "waited until {what}:\n{}\n{:?}",
                self.story(),
                books()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn note(&mut self, what: &str) {
        self.log.push(what.to_owned());
    }

    /// What happened, and the end of what the collector said of it.
    fn story(&self) -> String {
        let said = self.collector.log();
        let lines: Vec<&str> = said.lines().collect();
        let end = lines.len().saturating_sub(40);
        format!(
            "{}\n{}",
            self.log.join("\n"),
            lines.get(end..).unwrap_or_default().join("\n")
        )
    }
}

#[expect(clippy::print_stdout, reason = "long work shows how far it is")]
fn say(line: &str) {
    println!("{line}");
}
