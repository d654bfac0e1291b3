// Validates certificate paths as Java programs do: PKIX with revocation checking, the CRLs from a CertStore.
//
// Reads a file with one case a line, fields separated by tabs, and prints a line "ID <tab> VERDICT" for each, after one
// with the version of Java, so that one start serves any number of cases:
//
//   path          ID  path    SECONDS  ANCHORS  CHAIN  CRLS
//   TLS server    ID  server  -        ANCHORS  CHAIN  CRLS     what a TLS client's trust manager says of the chain
//   TLS client    ID  client  -        ANCHORS  CHAIN  CRLS     what a TLS server's trust manager says of the chain
//
// SECONDS is the time to validate at, since the epoch, or "-" for the present. ANCHORS is a file of certificates, PEM, or
// a PKCS #12 trust store with the password "changeit"; CHAIN is a PEM file, leaf first, without the root; CRLS are files
// of CRLs, PEM or DER, separated by commas, or "-". A verdict is "accepted", or the reason of the
// CertPathValidatorException and the place in the chain, for a revocation followed by what it was for.

import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CRL;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateRevokedException;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.PKIXParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import javax.net.ssl.CertPathTrustManagerParameters;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

public class Validate {
    private static CertificateFactory factory;

    public static void main(String[] arguments) throws Exception {
        factory = CertificateFactory.getInstance("X.509");
        System.out.println("java\t" + Runtime.version().feature());
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] fields = line.split("\t");
            System.out.println(fields[0] + "\t" + verdict(fields));
        }
    }

    private static String verdict(String[] fields) throws Exception {
        Set<TrustAnchor> anchors = anchors(fields[3]);
        List<Certificate> chain = certificates(fields[4]);
        CertStore lists = lists(fields[5]);
        try {
            if (fields[1].equals("path")) {
                validatePath(anchors, chain, lists, fields[2]);
            } else {
                trustManager(anchors, chain, lists, fields[1].equals("server"));
            }
            return "accepted";
        } catch (Exception error) {
            return reason(error);
        }
    }

    private static void validatePath(Set<TrustAnchor> anchors, List<Certificate> chain, CertStore lists, String at)
            throws Exception {
        PKIXParameters parameters = new PKIXParameters(anchors);
        parameters.setRevocationEnabled(true);
        parameters.addCertStore(lists);
        if (!at.equals("-")) {
            parameters.setDate(new Date(1000L * Long.parseLong(at)));
        }
        CertPathValidator.getInstance("PKIX").validate(factory.generateCertPath(chain), parameters);
    }

    private static void trustManager(Set<TrustAnchor> anchors, List<Certificate> chain, CertStore lists, boolean server)
            throws Exception {
        PKIXBuilderParameters parameters = new PKIXBuilderParameters(anchors, new X509CertSelector());
        parameters.setRevocationEnabled(true);
        parameters.addCertStore(lists);
        TrustManagerFactory managers = TrustManagerFactory.getInstance("PKIX");
        managers.init(new CertPathTrustManagerParameters(parameters));
        X509TrustManager manager = (X509TrustManager) managers.getTrustManagers()[0];
        X509Certificate[] path = chain.toArray(new X509Certificate[0]);
        if (server) {
            manager.checkServerTrusted(path, "UNKNOWN");
        } else {
            manager.checkClientTrusted(path, "UNKNOWN");
        }
    }

    private static String reason(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof CertPathValidatorException refusal) {
                String text = refusal.getReason() + " " + refusal.getIndex();
                if (refusal.getCause() instanceof CertificateRevokedException revoked) {
                    text += " " + revoked.getRevocationReason();
                }
                return text;
            }
        }
        return error.toString().replaceAll("\\s+", " ");
    }

    private static Set<TrustAnchor> anchors(String file) throws Exception {
        Set<TrustAnchor> anchors = new HashSet<>();
        if (file.endsWith(".p12")) {
            KeyStore store = KeyStore.getInstance(Path.of(file).toFile(), "changeit".toCharArray());
            return new PKIXParameters(store).getTrustAnchors();
        }
        for (Certificate certificate : certificates(file)) {
            anchors.add(new TrustAnchor((X509Certificate) certificate, null));
        }
        return anchors;
    }

    private static List<Certificate> certificates(String file) throws Exception {
        try (InputStream in = new FileInputStream(file)) {
            return new ArrayList<>(factory.generateCertificates(in));
        }
    }

    private static CertStore lists(String files) throws Exception {
        List<CRL> lists = new ArrayList<>();
        for (String file : files.equals("-") ? new String[0] : files.split(",")) {
            try (InputStream in = new FileInputStream(file)) {
                lists.addAll(factory.generateCRLs(in));
            }
        }
        return CertStore.getInstance("Collection", new CollectionCertStoreParameters(lists));
    }
}
