//! An authority of one's own, and certificates of it for a server of localhost and for its clients.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;

/// See the module.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Another one each time.
    ///
    /// # Errors
    /// No key.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(authority))
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for this name, PEM.
    ///
    /// # Errors
    /// No key.
    pub fn leaf(&self, name: &str) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let params = leaf(name)?;
        let leaf = params.signed_by(&key, &self.0)?;
        Ok((leaf.pem(), key.serialize_pem()))
    }

    /// What a server of localhost has of it, which lets in only its clients if it `asks` for their certificates.
    ///
    /// # Errors
    /// No key.
    pub fn server(&self, asks: bool) -> Result<rustls::ServerConfig> {
        let key = KeyPair::generate()?;
        let params = leaf("localhost")?;
        let leaf = params.signed_by(&key, &self.0)?;
        let secret = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone())?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        Ok(builder.with_single_cert(vec![leaf.der().clone()], secret)?)
    }
}

/// By OpenSSL's judgement a certificate that has its issuer's name is its own issuer.
fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn leaf(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = named(name);
    Ok(params)
}
